"""What an `agent` node asks of a model, and what of the answer is its output and its patch."""

import msgspec

from apex_fast.core import check_against
from apex_fast.executors.agent.patching import SCHEMA as PATCH_SCHEMA
from apex_fast.executors.agent.patching import Answer, Proposed
from apex_fast.ports.model import ModelAnswer, ModelRequest

SYSTEM = (
    "You do one step of a workflow. Do what the prompt asks, and answer with one JSON object that fits the schema."
    " Nobody reads anything else, and nobody can be asked back."
)
_TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
_REASONS_MAX = 5
_ANSWER = msgspec.json.Decoder(Answer)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()


class OutputInvalid(Exception):
    """The answer does not fit the schema; the message says where."""


class Question(msgspec.Struct):
    """The rendered config of a node."""

    prompt: str
    model: str = ""
    output_schema: msgspec.Raw = msgspec.Raw()
    tools: list[str] = []
    may_patch: bool = False

    @property
    def is_wrapped(self) -> bool:
        """A model answers with an object: another schema stands in one as `value`."""
        schema = msgspec.json.decode(self.output_schema) if self.output_schema else {}
        return not isinstance(schema, dict) or schema.get("type") != "object"

    def request(self, told: str = "") -> ModelRequest:
        """What the model is asked. ``told``: what a node that may patch is told; empty: it may not."""
        schema: dict[str, object] = _TEXT
        if self.output_schema:
            given = msgspec.json.decode(self.output_schema)
            schema = given
            if self.is_wrapped:
                schema = {"type": "object", "properties": {"value": given}, "required": ["value"]}
        if told:
            members = {"output": schema, "patch": PATCH_SCHEMA}
            schema = {"type": "object", "properties": members, "required": ["output"]}
        return ModelRequest(
            system=SYSTEM + told,
            prompt=self.prompt,
            schema=schema,
            schema_name="answer",
            model=self.model,
            strict=not self.output_schema and not told,
        )

    def output(self, answer: ModelAnswer, model: str) -> bytes:
        """The output of the node as JSON. Raises OutputInvalid."""
        return self._output(answer, answer.text, model)

    def parts(self, answer: ModelAnswer, model: str) -> tuple[bytes, Proposed | None]:
        """The output of a node that may patch, and its patch. Raises OutputInvalid."""
        said = _ANSWER.decode(answer.text)
        if not said.output:
            raise OutputInvalid("the answer has no output")
        return self._output(answer, bytes(said.output), model), said.proposed()

    def _output(self, answer: ModelAnswer, text: bytes, model: str) -> bytes:
        said = _ANY.decode(text)
        usage = {"tokens_in": answer.tokens_in, "tokens_out": answer.tokens_out}
        shown: dict[str, object] = {"value": None, "model": self.model or model, "usage": usage}
        if not self.output_schema:
            if not isinstance(said, dict) or not isinstance(said.get("text"), str):
                raise OutputInvalid("the answer has no text")
            return msgspec.json.encode({"text": said["text"], **shown})
        value = text
        if self.is_wrapped:
            if not isinstance(said, dict) or "value" not in said:
                raise OutputInvalid("the answer has no value")
            value = bytes(_MEMBERS.decode(text)["value"])
        found = check_against(bytes(self.output_schema), value)
        if found:
            reasons = [f"{one.pointer or '/'}: {one.message}" for one in found[:_REASONS_MAX]]
            more = len(found) - len(reasons)
            raise OutputInvalid("; ".join(reasons) + (f"; {more} more" if more else ""))
        shown["value"] = msgspec.Raw(value)
        return msgspec.json.encode({"text": value.decode(), **shown})
