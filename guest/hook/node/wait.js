// Waits for the code of a job, then is gone. See guest/hook.go for the other side.
//
// Node loads this by --require in NODE_OPTIONS, when its own start is complete and before it looks for the program. A worker thread of the job
// loads it again, since it has the options that its process started with; it has nobody to wait for. What stays is in process.moduleLoadList
// alone: modules of Node's own that are loaded already (warm.js). Works from Node 16 on.
'use strict';

function read(fs, size) {
  const data = Buffer.allocUnsafeSlow(size);
  for (let n = 0, part; n < size; n += part) {
    part = fs.readSync(3, data, n, size - n);
    if (part === 0) process.reallyExit(1);
  }
  return data;
}

function message(fs) {
  return read(fs, Number(read(fs, 8).latin1Slice())).utf8Slice().split('\0').slice(0, -1);
}

function preload(fs, names) {
  const options = process.env.NODE_OPTIONS.replace(/^\S+ ?/, ''); // with the environment that the program will see
  if (options === '') delete process.env.NODE_OPTIONS;
  else process.env.NODE_OPTIONS = options;
  for (const name of names) {
    let why;
    try {
      module.constructor.createRequire('/main.js')(name);
      const left = (process.getActiveResourcesInfo?.() ?? []).filter((kind) => kind !== 'PipeWrap'); // a look at process.stdout is none
      if (left.length === 0) continue;
      why = `it leaves work to be done: ${left}`;
    } catch (e) {
      try {
        why = String(e).split('\n', 1)[0];
      } catch {
        why = 'an exception that has no text';
      }
    }
    fs.writeSync(3, Buffer.from(`Fcannot preload ${name}: ${why}`).subarray(0, 500));
    process.reallyExit(1);
  }
}

// Node calls Module.runMain for the program that it was started with: the next look at it gives one that runs this program.
function run(program) {
  const Module = module.constructor;
  const { value, ...rest } = Object.getOwnPropertyDescriptor(Module, 'runMain');
  process.argv[1] = program;
  Object.defineProperty(Module, 'runMain', {
    configurable: true,
    get() {
      Object.defineProperty(Module, 'runMain', { value, ...rest });
      return value.bind(Module, program);
    },
  });
}

function wait() {
  const v8 = require('v8');
  v8.setFlagsFromString('--no-lazy'); // what is loaded here is compiled here, and not when the program first calls it
  const fs = require('fs');
  const names = message(fs);
  if (names.length > 0) preload(fs, names);
  require('./warm.js');
  v8.setFlagsFromString('--lazy');
  fs.writeSync(3, 'R');
  const fields = message(fs);
  fs.closeSync(3);
  const n = Number(fields[0]) + 1;
  process.argv.push(...fields.slice(1, n));
  if (fields[n] !== '') run(fields[n]);
  for (const field of fields.slice(n + 1)) {
    const eq = field.indexOf('=');
    if (eq < 0) delete process.env[field];
    else process.env[field.slice(0, eq)] = field.slice(eq + 1);
  }
}

function vanish() {
  const { _cache, _pathCache } = module.constructor;
  const ours = (file) => file.startsWith(`${__dirname}/`);
  for (const file of Object.keys(_cache)) if (ours(file)) delete _cache[file];
  for (const [request, file] of Object.entries(_pathCache)) if (ours(file)) delete _pathCache[request];
  module.parent.children.splice(module.parent.children.indexOf(module), 1);
  // Node walks this list: the next one moves to our place, which it has seen.
  const list = process._preload_modules;
  if (list.shift() !== undefined && list.length > 0) module.parent.require(list[0]);
}

if (!process.chdir.disabled) wait();
vanish();
