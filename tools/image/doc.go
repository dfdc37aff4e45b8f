// Command image builds tsubo's OCI image layouts for jobs of uid 1000:
//   - python, the default image: Debian's bare python3 and its standard library
//   - python-data: python with numpy, pandas, scipy, scikit-learn, matplotlib and Pillow
//   - node: Debian's bare nodejs
//
// All contain what programs expect: a shell, the core utilities, CA certificates and time zones.
//
// The command needs apt, dpkg-deb and package lists, but neither root nor a container engine. apt
// fetches and verifies the packages; they are unpacked in memory and written as a single layer. The
// packages' own scripts never run; fixups does the few necessary steps. The same packages give the
// same manifest digest byte for byte, whatever the machine, user and path: owners, times and order
// are fixed, and the image's own interpreter compiles bytecode with unchecked hashes. The layer is
// not compressed, so that the digest does not depend on a compressor's version, and an import need
// not decompress.
//
// A build ends with two checks of the result: every shared library that a file needs exists, and
// the interpreter loads every module of its library.
package main
