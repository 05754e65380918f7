// Package kubesim is the remote control of a cluster that `kubesim serve` or `kubesim envtest`
// serves: faults, the clock, the journal, snapshots, said by a test in Go.
//
//	sim, err := kubesim.For(cfg) // the *rest.Config of envtest's Start
//	fault, err := sim.Arm(ctx, `kubesim.faults.api(client="manager", verb="update").reset()`)
package kubesim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// Sim speaks to /kubesim/v1 of one cluster.
type Sim struct {
	client *http.Client
	base   string
}

// Fault is a fault that was armed.
type Fault struct {
	ID     int    `json:"id"`
	Fault  string `json:"fault"`
	Armed  bool   `json:"armed"`
	Seen   int    `json:"seen"`
	Struck int    `json:"struck"`
}

// Clock is what time it is.
type Clock struct {
	Now            time.Time `json:"now"`
	ElapsedSeconds float64   `json:"elapsedSeconds"`
	Scale          float64   `json:"scale"`
	Frozen         bool      `json:"frozen"`
}

// Entry is something that happened.
type Entry struct {
	Time     time.Time      `json:"time"`
	Sequence int            `json:"sequence"`
	Kind     string         `json:"kind"`
	Actor    string         `json:"actor"`
	Fields   map[string]any `json:"fields"`
}

// For gives the remote control of the cluster that the config leads to.
func For(config *rest.Config) (*Sim, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &Sim{client: client, base: strings.TrimRight(config.Host, "/") + "/kubesim/v1/"}, nil
}

// Arm arms a fault, said as the Python that makes it.
func (s *Sim) Arm(ctx context.Context, fault string) (*Fault, error) {
	armed := &Fault{}
	return armed, s.ask(ctx, http.MethodPost, "faults", map[string]any{"fault": fault}, armed)
}

// Fault tells what became of a fault.
func (s *Sim) Fault(ctx context.Context, id int) (*Fault, error) {
	found := &Fault{}
	return found, s.ask(ctx, http.MethodGet, fmt.Sprintf("faults/%d", id), nil, found)
}

// Disarm ends a fault.
func (s *Sim) Disarm(ctx context.Context, id int) error {
	return s.ask(ctx, http.MethodDelete, fmt.Sprintf("faults/%d", id), nil, nil)
}

// DisarmAll ends all faults.
func (s *Sim) DisarmAll(ctx context.Context) error {
	return s.ask(ctx, http.MethodDelete, "faults", nil, nil)
}

// Clock tells what time it is.
func (s *Sim) Clock(ctx context.Context) (*Clock, error) {
	clock := &Clock{}
	return clock, s.ask(ctx, http.MethodGet, "clock", nil, clock)
}

// Advance lets virtual time pass at once, and returns when all that fell due has run.
func (s *Sim) Advance(ctx context.Context, duration time.Duration) error {
	body := map[string]any{"duration": duration.Seconds()}
	return s.ask(ctx, http.MethodPost, "clock/advance", body, nil)
}

// Freeze has the clock stand, or go on.
func (s *Sim) Freeze(ctx context.Context, frozen bool) error {
	return s.ask(ctx, http.MethodPost, "clock/freeze", map[string]any{"frozen": frozen}, nil)
}

// Settle lets time pass until nothing changes any more, here or by clients outside.
func (s *Sim) Settle(ctx context.Context, timeout time.Duration) error {
	body := map[string]any{"timeout": timeout.Seconds()}
	return s.ask(ctx, http.MethodPost, "settle", body, nil)
}

// Journal tells what an actor did ("": anybody).
func (s *Sim) Journal(ctx context.Context, actor string) ([]Entry, error) {
	page := struct{ Items []Entry }{}
	query := url.Values{"limit": {"100000"}}
	if actor != "" {
		query.Set("actor", actor)
	}
	err := s.ask(ctx, http.MethodGet, "journal?"+query.Encode(), nil, &page)
	return page.Items, err
}

// Snapshot keeps all that is stored under a name.
func (s *Sim) Snapshot(ctx context.Context, name string) error {
	return s.ask(ctx, http.MethodPut, "snapshots/"+url.PathEscape(name), nil, nil)
}

// Restore stores what was kept under that name, and nothing else.
func (s *Sim) Restore(ctx context.Context, name string) error {
	return s.ask(ctx, http.MethodPost, "snapshots/"+url.PathEscape(name)+"/restore", nil, nil)
}

func (s *Sim) ask(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, sent)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	found, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		refusal := struct{ Message string }{}
		_ = json.Unmarshal(found, &refusal)
		return fmt.Errorf("kubesim: %s: %s", answer.Status, refusal.Message)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(found, into)
}
