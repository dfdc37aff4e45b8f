import site, sys, sysconfig
print(site.ENABLE_USER_SITE, site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib"))
print(sys.modules.get("sitecustomize"), sys.modules.get("usercustomize"), exit, quit, copyright)
