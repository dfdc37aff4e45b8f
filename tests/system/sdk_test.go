package system

import (
	"testing"

	"github.com/tsubo-run/tsubo/tests/sdk"
)

// The requests of Tako VM's own client, in its shapes, against a real daemon.
func TestTakoClientShapes(t *testing.T) {
	if err := sdk.Run("unix:" + shared.socket); err != nil {
		t.Errorf("%v\n%s", err, shared.logText())
	}
}
