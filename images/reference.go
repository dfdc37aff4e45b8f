package images

import (
	"context"
	"errors"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

// layoutRef is the address that go.podman.io/image requires of a source. A layout has no address:
// it is already open, and its reference cannot open, write or delete it.
type layoutRef struct{}

var (
	_ types.ImageReference = layoutRef{}
	_ types.ImageTransport = layoutRef{}

	errNoAddress = errors.New("an opened layout has no address")
)

// Reference implements types.ImageSource.
func (l *layout) Reference() types.ImageReference { return layoutRef{} }

// Transport implements types.ImageReference.
func (r layoutRef) Transport() types.ImageTransport { return r }

// StringWithinTransport implements types.ImageReference.
func (layoutRef) StringWithinTransport() string { return "" }

// DockerReference implements types.ImageReference.
func (layoutRef) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity implements types.ImageReference.
func (layoutRef) PolicyConfigurationIdentity() string { return "" }

// PolicyConfigurationNamespaces implements types.ImageReference.
func (layoutRef) PolicyConfigurationNamespaces() []string { return nil }

// NewImage implements types.ImageReference.
func (layoutRef) NewImage(context.Context, *types.SystemContext) (types.ImageCloser, error) {
	return nil, errNoAddress
}

// NewImageSource implements types.ImageReference.
func (layoutRef) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return nil, errNoAddress
}

// NewImageDestination implements types.ImageReference.
func (layoutRef) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return nil, errNoAddress
}

// DeleteImage implements types.ImageReference.
func (layoutRef) DeleteImage(context.Context, *types.SystemContext) error { return errNoAddress }

// Name implements types.ImageTransport.
func (layoutRef) Name() string { return "opened-layout" }

// ParseReference implements types.ImageTransport.
func (layoutRef) ParseReference(string) (types.ImageReference, error) { return nil, errNoAddress }

// ValidatePolicyConfigurationScope implements types.ImageTransport.
func (layoutRef) ValidatePolicyConfigurationScope(string) error { return errNoAddress }
