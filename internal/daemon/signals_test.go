package daemon

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

func kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func ends(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing came", what)
	}
}

func TestSignals(t *testing.T) {
	stop, hurry, reload, forget := handleSignals(context.Background(), quiet)
	defer forget()
	kill(t, syscall.SIGHUP)
	ends(t, "reload", reload)
	if stop.Err() != nil {
		t.Fatal("SIGHUP stops the daemon")
	}
	kill(t, syscall.SIGTERM)
	ends(t, "stop", stop.Done())
	kill(t, syscall.SIGHUP)
	ends(t, "reload while stopping", reload)
	if hurry.Err() != nil {
		t.Fatal("one signal hurries")
	}
	kill(t, syscall.SIGINT)
	ends(t, "hurry", hurry.Done())
}

func TestForgottenSignals(t *testing.T) {
	stop, hurry, _, forget := handleSignals(context.Background(), quiet)
	forget()
	if stop.Err() == nil || hurry.Err() == nil {
		t.Error("what waits for them still waits")
	}
}
