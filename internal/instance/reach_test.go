package instance

import (
	"reflect"
	"testing"

	"pgtwin/internal/config"
)

// A new look at the addresses keeps whether the peers use TLS, because only a start reads that setting. A node in
// pgtwin.toml is let in although the cluster does not have it yet.
func TestANewLookForgetsNeitherTLSNorTheNodesOfTheConfiguration(t *testing.T) {
	i := config.Instance{Name: "db", Node: "h1", Nodes: []string{"h1", "h2"}}
	dns := names(map[string][]string{"h1": {"10.0.0.1"}, "h2": {"10.0.0.2"}})
	for _, tls := range []bool{true, false} {
		found := findReach(t.Context(), i, []string{"h1"}, nil, Reach{TLS: tls}, dns)
		want := Reach{Nodes: map[string][]string{"h1": {"10.0.0.1"}, "h2": {"10.0.0.2"}}, TLS: tls}
		if !reflect.DeepEqual(found, want) {
			t.Errorf("%+v, want %+v", found, want)
		}
	}
}
