// JSON into a tree, and strings out of it. Reads what a host sends: it is well-formed.

export class Value {
  text: string = "";
  list: Value[] = [];
  members: Map<string, Value> = new Map<string, Value>();

  get(name: string): Value {
    return this.members.has(name) ? this.members.get(name) : new Value();
  }
}

let source: string = "";
let at: i32 = 0;

export function parse(text: string): Value {
  source = text;
  at = 0;
  return value();
}

export function quoted(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code == 34 || code == 92) out += "\\";
    out += text.charAt(i);
  }
  return out + '"';
}

function space(): void {
  while (at < source.length && source.charCodeAt(at) <= 32) at++;
}

function takes(sign: string): bool {
  space();
  if (source.charAt(at) != sign) return false;
  at++;
  return true;
}

function value(): Value {
  const made = new Value();
  if (takes("{")) {
    while (!takes("}")) {
      space();
      const name = literal();
      takes(":");
      made.members.set(name, value());
      takes(",");
    }
  } else if (takes("[")) {
    while (!takes("]")) {
      made.list.push(value());
      takes(",");
    }
  } else if (source.charAt(at) == '"') {
    made.text = literal();
  } else {
    // A number, true, false, null: the text of it.
    const from = at;
    while (at < source.length && !",]} \n".includes(source.charAt(at))) at++;
    made.text = source.slice(from, at);
  }
  return made;
}

function literal(): string {
  let out = "";
  at++;
  while (source.charAt(at) != '"') {
    if (source.charAt(at) != "\\") {
      out += source.charAt(at++);
      continue;
    }
    const sign = source.charAt(at + 1);
    if (sign == "u") {
      out += String.fromCharCode(<i32>parseInt(source.slice(at + 2, at + 6), 16));
      at += 6;
      continue;
    }
    out += sign == "n" ? "\n" : sign == "t" ? "\t" : sign == "r" ? "\r" : sign == "b" ? "\b" : sign == "f" ? "\f" : sign;
    at += 2;
  }
  at++;
  return out;
}
