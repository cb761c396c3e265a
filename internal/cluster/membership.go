package cluster

import (
	"slices"
	"strconv"
	"strings"

	"pgtwin/internal/ha"
)

// nodeState is a node_state element of the CIB's status section.
type nodeState struct {
	ID        string         `xml:"id,attr"`
	Member    string         `xml:"in_ccm,attr"`   // in Corosync's membership
	Online    string         `xml:"crmd,attr"`     // its controller is in the process group
	Join      string         `xml:"join,attr"`     // member, pending, down or banned
	Expected  string         `xml:"expected,attr"` // member or down
	Transient []attributeSet `xml:"transient_attributes>instance_attributes"`
	History   []history      `xml:"lrm>lrm_resources>lrm_resource"`
}

// history is what is recorded of a resource's operations on a node.
type history struct {
	Resource   string      `xml:"id,attr"`
	Operations []operation `xml:"lrm_rsc_op"`
}

type operation struct {
	Name     string `xml:"operation,attr"`
	Call     int    `xml:"call-id,attr"` // ascending; -1 while it runs
	Code     int    `xml:"rc-code,attr"`
	Interval string `xml:"interval,attr"`
}

func (o operation) ended() bool { return o.Call >= 0 }

// judge follows Pacemaker's scheduler with fencing enabled
// (determine_online_status_fencing in lib/pengine/unpack.c), but errs on the
// side of unclean: a node that is neither a full member nor confirmed down may
// be running a database.
//
// A configured node of which there is no state has not been seen since the
// cluster started. It may be running alone behind a cut, and Pacemaker fences it
// (startup-fencing): unclean too. So is a node that left in good order without
// stopping the resource, as it does in maintenance mode.
func (s *nodeState) judge(resource string) (online, unclean bool) {
	if s == nil {
		return false, true
	}
	in, seen := since(s.Member)
	up, _ := since(s.Online)
	down := !in && !up

	switch {
	case !seen, s.Join == "banned":
		return false, true
	case s.termination():
		return false, !(down && s.Join == "down")
	case in && up && s.Join == "member":
		return true, false
	case down && (s.Expected == "" || s.Expected == "down"):
		return false, s.active(resource)
	}
	return false, true
}

// active says whether the resource was last seen running on the node. Fencing
// erases the history, a stop ends it, and a probe may have found nothing.
func (s *nodeState) active(resource string) bool {
	active, latest := false, -1
	for _, h := range s.History {
		if id, _, _ := strings.Cut(h.Resource, ":"); id != resource {
			continue
		}
		for _, op := range h.Operations {
			if op.Interval != "0" || op.Call < latest {
				continue
			}
			latest = op.Call
			stopped := op.Name == "stop" && op.Code == 0
			absent := op.Name == "monitor" && (op.Code == ocfNotRunning || op.Code == ocfNotInstalled)
			active = !stopped && !absent
		}
	}
	return active
}

// tracked says whether the result of an action of the resource is known: not
// before its first probe on the node has ended, nor while one is under way after
// its history was cleaned up.
func (s *nodeState) tracked(resource string) bool {
	if s == nil {
		return false
	}
	for _, h := range s.History {
		id, _, _ := strings.Cut(h.Resource, ":")
		if id == resource && slices.ContainsFunc(h.Operations, operation.ended) {
			return true
		}
	}
	return false
}

// What a probe that found nothing ends with (OCF Resource Agent API 1.1).
const (
	ocfNotInstalled = 5
	ocfNotRunning   = 7
)

// since reads in_ccm and crmd: true/false and online/offline, and as of feature
// set 3.18 (Pacemaker 2.1.7) the time since when, 0 meaning not. known is
// false where there is no answer.
func since(s string) (yes, known bool) {
	switch strings.ToLower(s) {
	case "online":
		return true, true
	case "offline":
		return false, true
	}
	if t, err := strconv.ParseInt(s, 10, 64); err == nil {
		return t > 0, t >= 0
	}
	return isTrue(s), s != "" && (isTrue(s) || isFalse(s))
}

func isFalse(s string) bool {
	switch strings.ToLower(s) {
	case "false", "off", "no", "n", "0":
		return true
	}
	return false
}

// termination says whether someone asked for this node to be fenced; the
// attribute holds a truth value or the time of the request.
func (s *nodeState) termination() bool {
	value, _ := lookup(s.Transient, "terminate")
	asked, err := strconv.ParseInt(value, 10, 64)
	return isTrue(value) || err == nil && asked > 0
}

// score reads a promotion score; ok is false where there is none, or something
// that is no score.
func (s *nodeState) score(name string) (score int, ok bool) {
	if s == nil {
		return 0, false
	}
	text, ok := lookup(s.Transient, name)
	if !ok {
		return 0, false
	}
	return parseScore(text)
}

// infinity is Pacemaker's INFINITY; every greater score is cut to it.
const infinity = -ha.Minus

func parseScore(text string) (score int, ok bool) {
	switch strings.ToUpper(text) {
	case "INFINITY", "+INFINITY":
		return infinity, true
	case "-INFINITY":
		return -infinity, true
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, false
	}
	return min(max(n, -infinity), infinity), true
}

func formatScore(score int) string {
	switch {
	case score >= infinity:
		return "INFINITY"
	case score <= -infinity:
		return "-INFINITY"
	}
	return strconv.Itoa(score)
}
