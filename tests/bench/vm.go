package main

import (
	"errors"
	"fmt"
	"os"
)

// leafInVM takes over what tests/bench/leaf measured where there are leaves, "" for nothing.
func (b *bench) leafInVM(file string) error {
	if file == "" {
		return nil
	}
	if err := readJSON(file, &b.report.Leaf); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the VM left no figures: %w", err)
		}
		return err
	}
	return nil
}
