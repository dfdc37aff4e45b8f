console.log(__filename, __dirname, require.main === module, process.mainModule === module, module.id, module.filename, module.parent);
console.log(module.paths, module.children, module.loaded, Object.keys(require.cache));
console.log(Object.keys(require('module')._pathCache), process._preload_modules, process.execArgv, process.execPath, process.argv0, process.title);
