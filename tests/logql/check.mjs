// Reads a JSON list of LogQL expressions; answers, for each, the pieces that the grammar does not take.
import { readFileSync } from "node:fs";
import { parser } from "@grafana/lezer-logql";

function errors(expression) {
  const found = [];
  parser.parse(expression).iterate({
    enter: (node) => {
      if (node.type.isError) found.push(`at ${node.from}: ${expression.slice(node.from, node.to || undefined)}`);
    },
  });
  return found;
}

const expressions = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(expressions.map(errors)));
