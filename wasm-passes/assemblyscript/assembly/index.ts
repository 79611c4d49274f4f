// skip-join: takes out a join with one way in, which only passes on. The host asks again until there is none.
import { Value, parse, quoted } from "./json";

export function apex_pass_abi(): i32 {
  return 1;
}

export function allocate(bytes: i32): usize {
  return heap.alloc(bytes);
}

export function run(at: usize, bytes: i32): i64 {
  const answer = String.UTF8.encode(answered(parse(String.UTF8.decodeUnsafe(at, bytes))));
  return (<i64>changetype<usize>(answer) << 32) | <i64>answer.byteLength;
}

// What the runtime calls where it fails: the host sees a trap.
export function stop(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

function answered(input: Value): string {
  const facts = input.get("facts");
  const nodes = facts.get("nodes").list;
  for (let i = 0; i < nodes.length; i++) {
    const id = nodes[i].get("id").text;
    const at = nodes[i].get("at").text;
    const said = pointed(input.get("definition"), at);
    // A join that says nothing but its id and type has the rule `all`, and takes nothing back.
    if (said.get("type").text == "join" && said.members.size == 2 && !isRead(facts, id)) {
      const operations = without(input, id, at);
      if (operations.length) {
        const finding = `{"nodes": [${quoted(id)}], "reason": ${quoted(id + " has one way in, and only passes on")}}`;
        return `{"patch": {"operations": [${operations}], "findings": [${finding}], "expected": {}}}`;
      }
    }
  }
  return '{"patch": null}';
}

// The operations that lead past a join; none where it does more than pass on.
function without(input: Value, id: string, at: string): string {
  const edges = input.get("facts").get("edges").list;
  let source = "";
  const gone: i32[] = [];
  const targets: string[] = [];
  for (let i = 0; i < edges.length; i++) {
    const from = edges[i].get("from").text;
    const to = edges[i].get("to").text;
    if (from != id && to != id) continue;
    const place = edges[i].get("at").text;
    // Neither a guard nor a way for failures.
    if (pointed(input.get("definition"), place).members.size != 2) return "";
    if (to == id && source.length) return "";
    if (to == id) source = from;
    else targets.push(to);
    gone.push(<i32>parseInt(place.slice(place.lastIndexOf("/") + 1)));
  }
  if (!source.length || !targets.length) return "";
  for (let i = 0; i < edges.length; i++) {
    if (edges[i].get("from").text == source && targets.includes(edges[i].get("to").text)) return "";
  }
  const graph = at.slice(0, at.lastIndexOf("/nodes/"));
  const operations: string[] = [];
  // From the back, so that the places before hold.
  gone.sort((a, b) => b - a);
  for (let i = 0; i < gone.length; i++) {
    operations.push(`{"op": "remove", "path": ${quoted(graph + "/edges/" + gone[i].toString())}}`);
  }
  for (let i = 0; i < targets.length; i++) {
    const edge = `{"from": ${quoted(source)}, "to": ${quoted(targets[i])}}`;
    operations.push(`{"op": "add", "path": ${quoted(graph + "/edges/-")}, "value": ${edge}}`);
  }
  operations.push(`{"op": "remove", "path": ${quoted(at)}}`);
  return operations.join(", ");
}

// What a JSON Pointer of the facts names. Those hold no escapes: they go by places.
function pointed(definition: Value, pointer: string): Value {
  let found = definition;
  const names = pointer.split("/");
  for (let i = 1; i < names.length; i++) {
    found = found.list.length ? found.list[<i32>parseInt(names[i])] : found.get(names[i]);
  }
  return found;
}

function isRead(facts: Value, id: string): bool {
  const readers = facts.get("nodes").list.concat(facts.get("edges").list).concat(facts.get("outputs").list);
  for (let i = 0; i < readers.length; i++) {
    const reads = readers[i].get("reads").list;
    for (let j = 0; j < reads.length; j++) {
      if (reads[j].get("node").text == id) return true;
    }
  }
  return false;
}
