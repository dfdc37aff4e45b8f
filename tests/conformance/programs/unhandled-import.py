import nonesuch.module
