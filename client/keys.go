package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tsubo-run/tsubo/job"
)

// CreateKey makes an API key; the answer is the only time that its text is seen. It needs the admin role, as the other two do.
func (c *Client) CreateKey(ctx context.Context, name string, admin bool) (*job.NewKeyAnswer, error) {
	body, err := json.Marshal(map[string]any{"name": name, "admin": admin})
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
