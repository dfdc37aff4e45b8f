package images

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
)

// parsed is an image's manifest and configuration, checked.
type parsed struct {
	digest digest.Digest // of the manifest for this platform
	config job.ImageConfig
	layers []parsedLayer
}

type parsedLayer struct {
	info        types.BlobInfo
	diffID      digest.Digest
	compression rootfs.Compression
}

// platform returns the platform of tsubo's images.
func platform() *types.SystemContext {
	return &types.SystemContext{OSChoice: "linux", ArchitectureChoice: runtime.GOARCH}
}

// choose finds this platform's manifest, listed in index.json or in an index that index.json lists.
// Deeper nesting is refused. A layout with several images for the platform is refused, too, because
// a folder stands for one image.
func (l *layout) choose(ctx context.Context) (digest.Digest, error) {
	blob := l.index
	for depth := range 3 {
		chosen, err := chooseFrom(blob)
		if err != nil {
			return "", err
		}
		b, mediaType, err := l.GetManifest(ctx, &chosen.Digest)
		if err != nil {
			return "", err
		}
		if err := checkBlob("manifest", b, chosen.Digest, chosen.Size); err != nil {
			return "", err
		}
		if !manifest.MIMETypeIsMultiImage(mediaType) {
			return chosen.Digest, nil
		}
		if depth > 0 || mediaType != imgspecv1.MediaTypeImageIndex {
			break
		}
		blob = b
	}
	return "", invalidf("%s: indexes nested too deep; an image index may hold manifests only", imgspecv1.ImageIndexFile)
}

// chooseFrom picks this platform's entry of an index.
func chooseFrom(blob []byte) (imgspecv1.Descriptor, error) {
	var index imgspecv1.Index
	list, err := manifest.ListFromBlob(blob, imgspecv1.MediaTypeImageIndex)
	if err == nil {
		err = json.Unmarshal(blob, &index)
	}
	if err != nil || index.SchemaVersion != 2 {
		return imgspecv1.Descriptor{}, invalidf("%s is not a valid image index; make the layout again", imgspecv1.ImageIndexFile)
	}
	for _, d := range index.Manifests {
		if _, err := blobName(d.Digest); err != nil {
			return imgspecv1.Descriptor{}, err
		}
	}
	chosen, err := list.ChooseInstance(platform())
	if err != nil {
		return imgspecv1.Descriptor{}, invalidf("%s: no image for linux/%s; make the layout for this platform", imgspecv1.ImageIndexFile, runtime.GOARCH)
	}
	var found *imgspecv1.Descriptor
	for _, d := range index.Manifests {
		switch {
		case d.Digest == chosen && found == nil:
			found = &d
		case d.Digest != chosen && forPlatform(d.Platform):
			return imgspecv1.Descriptor{}, invalidf("%s names several images for linux/%s; put each in a layout of its own", imgspecv1.ImageIndexFile, runtime.GOARCH)
		}
	}
	return *found, nil
}

func forPlatform(p *imgspecv1.Platform) bool {
	return p == nil || p.OS == "linux" && p.Architecture == runtime.GOARCH && p.Variant == ""
}

// parse reads and checks the manifest of d and its configuration.
func (l *layout) parse(ctx context.Context, d digest.Digest, limits Limits) (parsed, error) {
	img, err := image.FromUnparsedImage(ctx, platform(), image.UnparsedInstance(l, &d))
	if err != nil {
		return parsed{}, refuse(job.Invalid, fmt.Sprintf("manifest %s is not valid; make the layout again", d), err)
	}
	_, mediaType, err := img.Manifest(ctx)
	if err != nil {
		return parsed{}, fmt.Errorf("read manifest: %w", err)
	}
	if mediaType != imgspecv1.MediaTypeImageManifest && mediaType != manifest.DockerV2Schema2MediaType {
		return parsed{}, invalidf("manifest %s is of type %.80q: only OCI and Docker schema 2 images are supported", d, mediaType)
	}
	info := img.ConfigInfo()
	if info.MediaType != imgspecv1.MediaTypeImageConfig && info.MediaType != manifest.DockerV2Schema2ConfigMediaType {
		return parsed{}, invalidf("manifest %s is of an artifact (configuration type %.80q), not of an image", d, info.MediaType)
	}
	name, err := blobName(info.Digest)
	if err != nil {
		return parsed{}, err
	}
	blob, err := l.readFile(name, limits.Manifest)
	if err != nil {
		return parsed{}, err
	}
	if err := checkBlob("configuration", blob, info.Digest, info.Size); err != nil {
		return parsed{}, err
	}
	return parseConfig(d, blob, img.LayerInfos(), limits)
}

// imageConfig is the used part of an image's configuration.
type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		Env        []string `json:"Env"`
		WorkingDir string   `json:"WorkingDir"`
	} `json:"config"`
	RootFS struct {
		Type    string          `json:"type"`
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

func parseConfig(d digest.Digest, blob []byte, infos []types.BlobInfo, limits Limits) (parsed, error) {
	var c imageConfig
	if err := json.Unmarshal(blob, &c); err != nil {
		return parsed{}, refuse(job.Invalid, "configuration of the image is not valid JSON of its kind", err)
	}
	if c.OS != "linux" || c.Architecture != runtime.GOARCH {
		return parsed{}, invalidf("image is for %.40q, this host runs linux/%s", c.OS+"/"+c.Architecture, runtime.GOARCH)
	}
	if c.RootFS.Type != "layers" || len(infos) == 0 || len(c.RootFS.DiffIDs) != len(infos) {
		return parsed{}, invalidf("image has %d layers in its manifest and %d in its configuration (rootfs.diff_ids): must be equal and not 0",
			len(infos), len(c.RootFS.DiffIDs))
	}
	p := parsed{digest: d}
	for i, info := range infos {
		layer, err := parseLayer(info, c.RootFS.DiffIDs[i])
		if err != nil {
			return parsed{}, err
		}
		p.layers = append(p.layers, layer)
	}
	var err error
	p.config, err = checkConfig(c.Config.Env, c.Config.WorkingDir, limits)
	return p, err
}

func parseLayer(info types.BlobInfo, diffID digest.Digest) (parsedLayer, error) {
	for _, d := range []digest.Digest{info.Digest, diffID} {
		if _, err := blobName(d); err != nil {
			return parsedLayer{}, err
		}
	}
	if len(info.URLs) > 0 {
		return parsedLayer{}, invalidf("layer %s is to be fetched from an address of its own; only layers in the layout are used", info.Digest)
	}
	l := parsedLayer{info: info, diffID: diffID}
	switch info.MediaType {
	case imgspecv1.MediaTypeImageLayer, manifest.DockerV2SchemaLayerMediaTypeUncompressed:
		l.compression = rootfs.Uncompressed
	case imgspecv1.MediaTypeImageLayerGzip, manifest.DockerV2Schema2LayerMediaType:
		l.compression = rootfs.Gzip
	case imgspecv1.MediaTypeImageLayerZstd:
		l.compression = rootfs.Zstd
	default:
		return parsedLayer{}, invalidf("layer %s is of type %.80q: only tar, tar+gzip and tar+zstd layers are supported", info.Digest, info.MediaType)
	}
	return l, nil
}

// checkConfig extracts the part of the image's configuration that jobs get. Names that a shell
// could not set are passed on. An entry without a name or without "=" is skipped, as container
// engines do.
func checkConfig(env []string, workingDir string, limits Limits) (job.ImageConfig, error) {
	total, count := 0, len(env)
	var kept []string
	for _, kv := range env {
		total += len(kv) + 1
		if strings.ContainsRune(kv, 0) || !utf8.ValidString(kv) {
			return job.ImageConfig{}, invalidf("environment entry %.80q of the image: must be UTF-8 without NUL", kv)
		}
		if strings.IndexByte(kv, '=') > 0 {
			kept = append(kept, kv)
		}
	}
	if count > limits.EnvEntries || total > limits.EnvBytes {
		return job.ImageConfig{}, invalidf("environment of the image has %d entries, %d bytes: at most %d, %d", count, total, limits.EnvEntries, limits.EnvBytes)
	}
	switch {
	case workingDir == "":
		workingDir = "/"
	case !path.IsAbs(workingDir), len(workingDir) > 4095, strings.ContainsRune(workingDir, 0), !utf8.ValidString(workingDir):
		return job.ImageConfig{}, invalidf("working directory %.80q of the image: must be an absolute path of at most 4095 bytes", workingDir)
	}
	return job.ImageConfig{Env: kept, WorkingDir: path.Clean(workingDir)}, nil
}
