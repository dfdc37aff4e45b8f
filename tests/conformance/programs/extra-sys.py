import sys
print(sys.flags, sys.warnoptions, sys._xoptions, sys.dont_write_bytecode, sys.path, sys.meta_path[-1], list(sys.path_importer_cache))
print(sorted(sys.modules), sys.executable, sys.prefix, sys.getrecursionlimit(), sys.getswitchinterval())
