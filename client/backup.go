package client

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/tsubo-run/tsubo/job"
)

// Check asks whether all records and artifacts of the daemon are whole, and returns what is not. It
// needs the admin role, and reads everything.
func (c *Client) Check(ctx context.Context) (problems []string, err error) {
	var answer job.CheckAnswer
	err = c.call(ctx, http.MethodGet, "/check", "", nil, &answer)
	return answer.Problems, err
}

// Backup writes a tar of all records and artifacts of the daemon to w and returns its size in
// bytes. It needs the admin role. When it returns an error, what was written is not whole.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tsubo/backup", nil)
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	answer, err := c.transport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		if err != nil {
			return 0, fmt.Errorf("read answer: %w", err)
		}
		return 0, refusal(answer, data)
	}
	n, err := io.Copy(w, answer.Body)
	if err != nil {
		return n, fmt.Errorf("the backup broke off after %d bytes: %w", n, err)
	}
	return n, nil
}
