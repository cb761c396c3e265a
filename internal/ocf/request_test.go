package ocf

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"testing"
	"time"
)

func TestParseRequest(t *testing.T) {
	const meta = "OCF_RESKEY_CRM_meta_"
	for _, c := range []struct {
		name    string
		args    []string
		environ []string
		want    Request
	}{
		{"nothing but the action, as from a shell", []string{"monitor"}, nil,
			Request{Action: "monitor", Node: "host", Timeout: time.Minute}},
		{"no action", nil, nil, Request{Node: "host", Timeout: 20 * time.Second}},
		{"an action that is not advertised has Pacemaker's timeout", []string{"dance"}, nil,
			Request{Action: "dance", Node: "host", Timeout: 20 * time.Second}},
		{"status is monitor", []string{"status"}, nil, Request{Action: "monitor", Node: "host", Timeout: time.Minute}},
		{"further arguments are ignored", []string{"stop", "now"}, nil,
			Request{Action: "stop", Node: "host", Timeout: 2 * time.Minute}},
		{"recurring monitor", []string{"monitor"},
			[]string{meta + "interval=3000", meta + "timeout=60500", meta + "on_node=n1", "OCF_RESOURCE_INSTANCE=pg", "OCF_CHECK_LEVEL=10"},
			Request{Action: "monitor", Resource: "pg", Node: "n1", Interval: 3 * time.Second, Timeout: 60500 * time.Millisecond, CheckLevel: 10}},
		{"probe", []string{"monitor"}, []string{meta + "interval=0"},
			Request{Action: "monitor", Node: "host", Probe: true, Timeout: time.Minute}},
		{"only monitor is a probe", []string{"start"}, []string{meta + "interval=0"},
			Request{Action: "start", Node: "host", Timeout: 2 * time.Minute}},
		{"the number of a clone's instance is cut off", []string{"stop"}, []string{"OCF_RESOURCE_INSTANCE=pg:0"},
			Request{Action: "stop", Resource: "pg", Node: "host", Timeout: 2 * time.Minute}},
		{"malformed numbers have their defaults", []string{"stop"}, []string{meta + "timeout=2m", meta + "interval=-1", "OCF_CHECK_LEVEL=x"},
			Request{Action: "stop", Node: "host", Timeout: 2 * time.Minute}},
		{"a timeout of zero is none", []string{"stop"}, []string{meta + "timeout=0"},
			Request{Action: "stop", Node: "host", Timeout: 2 * time.Minute}},
		{"parameters are those of the resource alone", []string{"start"},
			[]string{"OCF_RESKEY_pgdata=/a=b", "OCF_RESKEY_empty=", "OCF_RESKEY_crm_feature_set=3.16", "OCF_RESKEY_trace_ra=1", meta + "name=start", "PGDATA=/x"},
			Request{Action: "start", Node: "host", Timeout: 2 * time.Minute, Params: map[string]string{"pgdata": "/a=b", "empty": ""}}},
		{"notification, with an empty list as a blank", []string{"notify"},
			[]string{meta + "notify_type=post", meta + "notify_operation=promote", meta + "notify_promote_uname=n2 ",
				meta + "notify_stop_uname= ", meta + "notify_start_uname=n1 n3", meta + "notify_demote_uname=n1",
				meta + "notify_active_uname=n1 n2", meta + "notify_promoted_uname=n1", meta + "notify_unpromoted_uname=n2"},
			Request{Action: "notify", Node: "host", Timeout: 90 * time.Second, Notify: Notify{
				Type: "post", Operation: "promote", Start: []string{"n1", "n3"}, Promote: []string{"n2"}, Demote: []string{"n1"},
				Active: []string{"n1", "n2"}, Promoted: []string{"n1"}, Unpromoted: []string{"n2"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ParseRequest(c.args, c.environ, "host")
			if !maps.Equal(got.Params, c.want.Params) {
				t.Errorf("parameters %v, want %v", got.Params, c.want.Params)
			}
			got.Params, c.want.Params, got.reasonPrefix = nil, nil, ""
			for _, list := range []*[]string{&got.Notify.Start, &got.Notify.Stop, &got.Notify.Promote, &got.Notify.Demote,
				&got.Notify.Active, &got.Notify.Promoted, &got.Notify.Unpromoted} {
				if len(*list) == 0 {
					*list = nil
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, c.want)
			}
		})
	}
}

func TestIsOCF(t *testing.T) {
	for variable, want := range map[string]bool{
		"OCF_RESOURCE_INSTANCE=pg": true, "OCF_RA_VERSION_MAJOR=1": true, "OCF_ROOT=/usr/lib/ocf": true,
		"OCF_ROOTLESS=1": false, "HOME=/root": false,
	} {
		if IsOCF([]string{"PATH=/bin", variable}) != want {
			t.Errorf("%s: want %v", variable, want)
		}
	}
}

func TestTheMarginIsTwoSecondsOrATenth(t *testing.T) {
	for timeout, margin := range map[time.Duration]time.Duration{
		2 * time.Minute: 2 * time.Second, 20 * time.Second: 2 * time.Second, 5 * time.Second: 500 * time.Millisecond,
	} {
		r := Request{Action: "stop", Timeout: timeout}
		if r.Margin() != margin {
			t.Errorf("margin of %s is %s, want %s", timeout, r.Margin(), margin)
		}
		before := time.Now()
		ctx, cancel := r.WithDeadline(context.Background())
		deadline, _ := ctx.Deadline()
		if spare := before.Add(timeout).Sub(deadline); spare > margin || spare < margin-time.Second {
			t.Errorf("%s of %s are kept back, want %s", spare, timeout, margin)
		}
		cancel()
	}
}

func TestTheCauseOfADeadlineNamesTheAction(t *testing.T) {
	ctx, cancel := Request{Action: "stop", Timeout: time.Millisecond}.WithDeadline(context.Background())
	defer cancel()
	<-ctx.Done()
	cause := context.Cause(ctx)
	if cause.Error() != "not finished within stop's timeout of 0.001s" || !errors.Is(cause, context.DeadlineExceeded) {
		t.Errorf("the cause is %v", cause)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add("monitor", "OCF_RESKEY_pgport=1", "OCF_RESKEY_CRM_meta_timeout=99999999999999")
	f.Fuzz(func(t *testing.T, action, a, b string) {
		r := ParseRequest([]string{action}, []string{a, b}, "host")
		if r.Timeout <= 0 || r.Timeout-r.Margin() <= 0 || r.Interval < 0 {
			t.Errorf("timeout %s, margin %s, interval %s", r.Timeout, r.Margin(), r.Interval)
		}
	})
}
