"""What a definition means, written a second time: simply, slowly, and from the decision pages alone.

Holds an evaluator of a small part of CEL, an interpreter of definitions, and a judge that reads the events of a run and
says where they are not what the interpreter allows. Knows nothing of the core's code; imports nothing of `apex_fast`.
In: definitions, inputs, outcomes of jobs, events as JSON. Out: what had to happen, or a `Disagreement`.
"""
