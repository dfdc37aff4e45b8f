package job

// Observer receives what happens to one job while it runs. Its methods are called from one
// goroutine in the order of events, must not block, and must not keep the byte slices.
type Observer interface {
	Started()
	Stdout([]byte)
	Stderr([]byte)
}
