// Writes the cases of the CEL specification that need no protocol buffers as compact JSON.
// Usage: npm pack @bufbuild/cel-spec, unpack, then: node extract.mjs PACKAGE_DIRECTORY > conformance.json
import { pathToFileURL } from "node:url";
const { tests } = await import(pathToFileURL(`${process.argv[2]}/dist/esm/testdata/conformance.js`).href);
const left = {};
const out = [];
/** A value as [type, value], with numbers as text; throws for messages and enums. */
function value(v) {
  const [kind] = Object.keys(v);
  switch (kind) {
    case "int64Value": return ["int", v[kind]];
    case "uint64Value": return ["uint", v[kind]];
    case "doubleValue": return ["double", String(v[kind])];
    case "stringValue": return ["string", v[kind]];
    case "bytesValue": return ["bytes", v[kind]];
    case "boolValue": return ["bool", v[kind]];
    case "nullValue": return ["null"];
    case "typeValue": return ["type", v[kind]];
    case "listValue": return ["list", (v[kind].values ?? []).map(value)];
    case "mapValue": return ["map", (v[kind].entries ?? []).map((e) => [value(e.key), value(e.value)])];
    default: throw kind;
  }
}
function walk(suite, path) {
  for (const inner of suite.suites ?? []) walk(inner, [...path, inner.name]);
  for (const { original: test } of suite.tests ?? []) {
    const leave = (why) => (left[why] = (left[why] ?? 0) + 1);
    if (test.container && /\b[A-Z]\w*\s*[{.(]/.test(test.expr)) { leave("message by its short name"); continue; }
    if (test.checkOnly) { leave("checkOnly"); continue; }
    if (/google\.protobuf|cel\.expr\.conformance|TestAllTypes|proto\.(has|get)Ext/.test(test.expr)) { leave("message"); continue; }
    try {
      const bindings = Object.entries(test.bindings ?? {}).map(([name, b]) => [name, value(b.value)]);
      const expected = test.value ? value(test.value) : test.typedResult?.result ? value(test.typedResult.result) : test.evalError ? ["error"] : ["bool", true];
      const line = [path.join("/"), test.name, test.expr, expected];
      if (bindings.length) line.push(bindings);
      out.push(line);
    } catch (kind) { leave(`value: ${kind}`); }
  }
}
walk(tests, []);
console.error(out.length, left);
console.log("[\n" + out.map((line) => JSON.stringify(line)).join(",\n") + "\n]");
