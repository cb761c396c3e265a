package ocf

import (
	"strings"
	"testing"
)

func TestValuesAndTheirOneSpelling(t *testing.T) {
	for _, c := range []struct{ param, value, want string }{
		{"pgdata", "/var/lib/pgsql/data/", "/var/lib/pgsql/data"},
		{"pgdata", "/srv//pg/./17", "/srv/pg/17"},
		{"pgdata", " /srv/pg ", "/srv/pg"},
		{"pgdata", "", "/var/lib/pgsql/data"},
		{"pgport", "05433", "5433"},
		{"pghost", "anything at all", "anything at all"},
		{"application_name", "my-App_1.x", "my-App_1.x"},
		{"rep_mode", "async", "async"},
		{"node_list", "  n1   db-2.example.com ", "n1 db-2.example.com"},
		{"max_promotion_lag_bytes", "-1", "-1"},
		{"vip", "2001:DB8::1", "2001:db8::1"},
		{"vip", "db.example.com", "db.example.com"},
		{"container_image", "registry.suse.com:5000/suse/postgres@sha256:abc", "registry.suse.com:5000/suse/postgres@sha256:abc"},
		{"pg_major_version", "17", "17"},
		{"container_mode", "Yes", "true"}, {"container_mode", "ON", "true"}, {"container_mode", "1", "true"},
		{"container_mode", "y", "true"}, {"container_mode", "True", "true"},
		{"backup_before_basebackup", "no", "false"}, {"backup_before_basebackup", "off", "false"},
		{"backup_before_basebackup", "0", "false"}, {"backup_before_basebackup", "N", "false"},
		{"force_promotion", "FALSE", "false"},
	} {
		p, err := ParseParams(map[string]string{c.param: c.value})
		if err != nil || p.String(c.param) != c.want {
			t.Errorf("%s=%q: got %q, %v; want %q", c.param, c.value, p.String(c.param), err, c.want)
		}
		if given := p.Given(c.param); given != (c.value != "") {
			t.Errorf("%s=%q: given is %v", c.param, c.value, given)
		}
	}
}

func TestValuesThatAreRefused(t *testing.T) {
	for _, c := range []struct{ param, value, why string }{
		{"pgdata", "data", "not an absolute path"},
		{"pgdata", "/srv/../etc", `contains ".."`},
		{"pgdata", "/", "root directory"},
		{"pgdata", "//.", "root directory"},
		{"pgdata", "/a b", "has a character"}, {"pgdata", "/a%i", "has a character"}, {"pgdata", "/a'b", "has a character"},
		{"pgdata", "/a\nb", "has a character"}, {"pgdata", "/a:b", "has a character"}, {"pgdata", "/ä", "has a character"},
		{"pgport", "0", "not between 1 and 65535"}, {"pgport", "65536", "not between"}, {"pgport", "5432; rm", "not a whole number"},
		{"pgport", "99999999999999999999", "not between"},
		{"pguser", "-x", "begins with"}, {"pguser", "a b", "has a character"},
		{"application_name", "a'b", "has a character"}, {"application_name", strings.Repeat("a", 64), "longer than 63"},
		{"slot_name", "Slot", "a-z, 0-9 and _"}, {"slot_name", "ha-slot", "a-z, 0-9 and _"},
		{"max_slot_wal_keep_size", "-1", "not between 0"},
		{"rep_mode", "Sync", "not one of sync, async"},
		{"node_list", "n1 n1", "listed twice"}, {"node_list", "n1,n2", "has a character"},
		{"basebackup_timeout", "1h", "not a whole number"}, {"basebackup_timeout", "0", "not between"},
		{"replication_failure_threshold", "0", "not between"},
		{"vip", "10.0.0.1/24", "neither an IP address nor"}, {"vip", "fe80::1%eth0", "neither"}, {"vip", "-h", "neither"},
		{"container_mode", "maybe", "neither true nor false"},
		{"pg_major_version", "9", "14 or later"}, {"pg_major_version", "17.6", "14 or later"},
		{"container_name", "-db", "begin with a letter or a digit"}, {"container_name", "..", "begin with"},
		{"container_name", "a/b", "has a character"}, {"container_name", "a@b", "has a character"},
		{"container_name", strings.Repeat("a", 65), "longer than 64"},
		{"container_image", "--privileged", "not the name of an image"}, {"container_image", "a b", "not the name of an image"},
		{"container_runtime", "lxc", "not one of auto, podman, docker"},
		{"max_promotion_lag_bytes", "-2", "not between -1"},
		{"force_promotion", "", ""},
	} {
		p, err := ParseParams(map[string]string{c.param: c.value})
		if c.why == "" {
			if err != nil {
				t.Errorf("%s=%q: %v", c.param, c.value, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.param+": ") || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s=%q: got %v, want %q", c.param, c.value, err, c.why)
		}
		if p.String(c.param) != Default(c.param) || p.Given(c.param) {
			t.Errorf("%s=%q: the wrong value has not given way to the default", c.param, c.value)
		}
	}
}

func TestAllMistakesAreCollectedAndTheFirstLineIsShort(t *testing.T) {
	r := Request{Action: "start", Params: map[string]string{"pgport": "x", "rep_mode": "y", "vip": "z!"}}
	_, _, err := r.Parameters()
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || CodeOf(err) != ErrConfigured {
		t.Errorf("got %d lines, %v: %v", len(lines), CodeOf(err), err)
	}
	for _, line := range lines {
		if len(line) > reasonLimit {
			t.Errorf("%q does not fit into an exit reason", line)
		}
	}
}

func TestUnknownParameters(t *testing.T) {
	given := map[string]string{"pgdat": "/x", "zzz": "", "pgport": "5433"}
	want := "pgdat: not a parameter of pgtwin; did you mean pgdata?\nzzz: not a parameter of pgtwin"

	_, warnings, err := Request{Action: "validate-all", Params: given}.Parameters()
	if err == nil || err.Error() != want || len(warnings) != 0 {
		t.Errorf("validate-all: got %v and %v, want the error %q", err, warnings, want)
	}
	p, warnings, err := Request{Action: "monitor", Params: given}.Parameters()
	if err != nil || strings.Join(warnings, "\n") != want || p.Int("pgport") != 5433 {
		t.Errorf("monitor: got %v and %v, want the warnings %q", err, warnings, want)
	}
}

func TestDefaultsAreThoseOfTheAgentThatIsReplaced(t *testing.T) {
	want := map[string]string{
		"pgdata": "/var/lib/pgsql/data", "pghost": "", "pgport": "5432", "pguser": "postgres", "application_name": "",
		"slot_name": "ha_slot", "max_slot_wal_keep_size": "1024", "monitor_timeout_promoted": "60",
		"monitor_timeout_unpromoted": "30", "rep_mode": "sync", "node_list": "", "backup_before_basebackup": "true",
		"basebackup_timeout": "3600", "pgpassfile": "", "replication_failure_threshold": "5", "vip": "",
		"pg_bindir": "/usr/bin", "container_mode": "false", "pg_major_version": "", "container_name": "postgres-ha",
		"container_image":         "registry.opensuse.org/devel/bci/tumbleweed/containerfile/opensuse/postgres:17.6-158.5",
		"max_promotion_lag_bytes": "10485760", "force_promotion": "false", "container_runtime": "auto",
	}
	p, err := ParseParams(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range Table() {
		value, known := want[row.Name]
		if !known || p.String(row.Name) != value {
			t.Errorf("%s has the default %q, want %q", row.Name, p.String(row.Name), value)
		}
		delete(want, row.Name)
	}
	if len(want) > 0 {
		t.Errorf("not in the table: %v", want)
	}
}

func TestTheTableAgreesWithItself(t *testing.T) {
	for _, p := range Table() {
		if p.Default != "" {
			if value, err := p.normal(p.Default); err != nil || value != p.Default {
				t.Errorf("the default of %s: %q, %v", p.Name, value, err)
			}
		}
		if p.Short == "" || p.Long == "" || len(p.Short) > 60 {
			t.Errorf("%s: the texts are missing or long", p.Name)
		}
		if (p.Type == Select) != (len(p.Options) > 0) || (p.Type == Integer) != (p.Max > 0) {
			t.Errorf("%s: options or range do not fit the type", p.Name)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"sync_timeout", "stop_timeout", "vip"}
	for name, want := range map[string]string{
		"sync_timeuot": "; did you mean sync_timeout?", "stoptimeout": "; did you mean stop_timeout?",
		"vpi": "; did you mean vip?", "replication": "", "x": "",
	} {
		if got := DidYouMean(name, known); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func FuzzParseParams(f *testing.F) {
	for _, p := range Table() {
		f.Add(p.Name, p.Default)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		p, err := ParseParams(map[string]string{name: value})
		if err != nil || !p.Given(name) {
			return
		}
		spelling := p.String(name)
		again, err := ParseParams(map[string]string{name: spelling})
		if err != nil || again.String(name) != spelling {
			t.Errorf("%s: %q became %q, which became %q, %v", name, value, spelling, again.String(name), err)
		}
		if name != "pghost" && strings.ContainsAny(spelling, "\n'\"\\$%;`") {
			t.Errorf("%s: %q needs quoting", name, spelling)
		}
	})
}
