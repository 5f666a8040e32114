// Prints "<sha256> <name>" for each member of a ZIP file: node reader.js yauzl|unzipper FILE
"use strict";

const { createHash } = require("node:crypto");
const { createReadStream } = require("node:fs");
const unzipper = require("unzipper");
const yauzl = require("yauzl");

async function print(name, contents) {
  const hash = createHash("sha256");
  for await (const chunk of contents) hash.update(chunk);
  console.log(`${hash.digest("hex")} ${name}`);
}

// From the directory at the end of the file.
async function readFile(path) {
  const file = await yauzl.openPromise(path);
  for await (const entry of file.eachEntry()) await print(entry.fileName, await file.openReadStreamPromise(entry));
}

// From the first byte to the last, as from a network.
async function readStream(path) {
  const entries = createReadStream(path).pipe(unzipper.Parse({ forceStream: true }));
  for await (const entry of entries) await print(entry.path, entry);
}

const [how, path] = process.argv.slice(2);
({ yauzl: readFile, unzipper: readStream })[how](path);
