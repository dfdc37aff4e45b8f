import locale, sys
print(sys.getdefaultencoding(), sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), locale.getpreferredencoding(), sys.flags.utf8_mode)
print(sys.stdout.encoding, sys.stderr.encoding, sys.stderr.errors)
