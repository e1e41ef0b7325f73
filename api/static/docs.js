// Shows the OpenAPI document of this service; loads nothing from anywhere else.

const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

function resolve(document_, schema) {
  const path = schema?.$ref?.slice(2).split("/");
  return path ? path.reduce((node, key) => node[key], document_) : schema ?? {};
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items ?? {})}[]`;
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  return schema.format ?? schema.type ?? "any";
}

function range(schema) {
  const parts = [schema, ...(schema.anyOf ?? [])];
  const find = (key) => parts.map((part) => part[key]).find((value) => value !== undefined);
  const said = [];
  if (find("minimum") !== undefined) said.push(`from ${find("minimum")}`);
  if (find("maximum") !== undefined) said.push(`to ${find("maximum")}`);
  if (find("maxLength") !== undefined) said.push(`at most ${find("maxLength")} characters`);
  if (schema.default !== undefined && schema.default !== null) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.join(", ");
}

function table(rows) {
  const body = make("table");
  for (const cells of rows) {
    const row = body.insertRow();
    for (const cell of cells) row.insertCell().textContent = cell ?? "";
  }
  return body;
}

function fields(document_, schema) {
  const properties = resolve(document_, schema).properties ?? {};
  return table(Object.entries(properties).map(([name, property]) =>
    [name, typeOf(property), [range(property), property.description].filter(Boolean).join(". ")]));
}

function operation(document_, method, path, details) {
  const block = make("details");
  const summary = make("summary");
  summary.append(make("span", method.toUpperCase(), "method"), make("code", path), ` ${details.summary ?? ""}`);
  block.append(summary);
  const parameters = details.parameters ?? [];
  if (parameters.length) {
    block.append(make("h3", "Parameters"), table(parameters.map((parameter) =>
      [parameter.name, parameter.in, [range(parameter.schema ?? {}), parameter.description].filter(Boolean).join(". ")])));
  }
  for (const [kind, media] of Object.entries(details.requestBody?.content ?? {})) {
    block.append(make("h3", kind), fields(document_, media.schema));
  }
  block.append(make("h3", "Answers"), table(Object.entries(details.responses).map(([status, answer]) =>
    [status, answer.description, Object.keys(answer.content ?? {}).join(", ")])));
  return block;
}

const answer = await fetch("openapi.json");
const document_ = await answer.json();
document.getElementById("origin").textContent = new URL(".", location.href).href.replace(/\/$/, "");
document.getElementById("about").textContent = document_.info.description.replaceAll("`", "");
for (const tag of document_.tags) {
  const section = make("section");
  section.append(make("h2", tag.name), make("p", tag.description));
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, details] of Object.entries(methods)) {
      if (details.tags?.includes(tag.name)) section.append(operation(document_, method, path, details));
    }
  }
  document.getElementById("operations").append(section);
}
const schemas = make("section");
schemas.append(make("h2", "Shapes"));
for (const [name, schema] of Object.entries(document_.components.schemas)) {
  const block = make("details");
  block.append(make("summary", name), make("p", schema.description ?? ""), fields(document_, schema));
  schemas.append(block);
}
document.getElementById("operations").append(schemas);
