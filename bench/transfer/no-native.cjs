// Loaded before ours.cjs: ssh2 without its native binding, as it is where nothing could be compiled.
const Module = require("node:module");
const load = Module._load;
Module._load = function (name, ...rest) {
  if (name.endsWith("sshcrypto.node")) throw new Error("left out for the benchmark");
  return load.call(this, name, ...rest);
};
