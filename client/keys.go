package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// CreateKey makes an API key, without an end when expires is zero; the answer is the only time that
// its text is seen. It needs the admin role, as the other two do.
func (c *Client) CreateKey(ctx context.Context, name string, admin bool, expires time.Time) (*job.NewKeyAnswer, error) {
	request := map[string]any{"name": name, "admin": admin}
	if !expires.IsZero() {
		request["expires_at"] = expires.UTC().Format(time.RFC3339)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	answer := &job.NewKeyAnswer{}
	return answer, c.call(ctx, http.MethodPost, "/keys", "application/json", strings.NewReader(string(body)), answer)
}

// Keys lists the API keys that were made with CreateKey, oldest first.
func (c *Client) Keys(ctx context.Context) ([]job.APIKey, error) {
	var answer job.KeysAnswer
	err := c.call(ctx, http.MethodGet, "/keys", "", nil, &answer)
	return answer.Items, err
}

// RevokeKey shuts a key out from now on.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/keys/"+url.PathEscape(id), "", nil, nil)
}
