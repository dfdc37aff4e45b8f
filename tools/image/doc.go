// Command image makes the OCI image layouts of tsubo: `python`, the default image, a bare Debian python3 with its standard library, and
// `node`, a bare Debian nodejs; both with what programs expect around them (a shell and the core utilities, CA certificates, time zones),
// for jobs of uid 1000.
//
// It needs apt, dpkg-deb and package lists, but no root and no container engine: packages are fetched by apt, which verifies them,
// unpacked in memory, and written out as one layer. Packages' own scripts never run; the few things that they would have set up are
// in fixups. The same packages give the same manifest digest, byte for byte, whatever the machine, the user and the path: owners,
// times and order are fixed, bytecode is compiled with unchecked hashes by the image's own interpreter, and the layer is not
// compressed, so that no compressor's version shows (and an import has nothing to inflate).
//
// A build ends with two checks on the result: every shared library that a file asks for is there, and the interpreter loads every
// module of its library.
package main
