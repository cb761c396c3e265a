package cluster

import (
	"reflect"
	"testing"
)

func TestRingAddressesAreThoseOfEveryLink(t *testing.T) {
	got := parseRings(`# nodelist { node {
totem {
	version: 2
	interface {
		ringnumber: 0
		bindnetaddr: 10.0.0.0
	}
}
nodelist {
	node {
		ring0_addr: 10.0.0.1
		ring1_addr: fd00::1
		name: h1
		nodeid: 1
	}
	node {
		name: h2
		ring0_addr: 10.0.0.2
	}
	node {
		ring0_addr: h3
		nodeid: 3
	}
}
quorum {
	device {
		net {
			name: qnetd
			ring0_addr: 1.2.3.4
		}
	}
}
`)
	want := map[string][]string{"h1": {"10.0.0.1", "fd00::1"}, "h2": {"10.0.0.2"}, "h3": {"h3"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := parseRings("}\n}\nnode {\nring0_addr: x\n"); len(got) > 0 {
		t.Errorf("of nonsense: %v", got)
	}
}
