// Package images is the catalogue of the images that jobs run in: imported from OCI layouts,
// checked blob by blob, turned into read-only roots by package rootfs, and known by manifest digest
// and by name.
//
// Nothing that an image claims about itself is believed. Of its manifest and configuration (parsed
// by go.podman.io/image, which is also the way in for registries) tsubo takes the layers, the
// environment and the working directory; user, entrypoint, volumes, labels and the rest never
// count. Files of a layout are opened below its folder without following any link.
//
// On disk, below the catalogue's directory (mode 0700, one daemon at a time):
//
//	records/<hex of the manifest digest>.json   one image; see record
//	names.json                                  name → manifest digest
//	staging/<random>/                           an upload under way; leftovers are swept by Open
//
// Each file is replaced by rename after fsync. An image counts as imported once its root, then its
// record, then its name are on disk; a crash in between leaves a root or a record that the next
// import of the same image takes up.
package images
