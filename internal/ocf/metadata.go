package ocf

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

const (
	agentName    = "pgtwin"
	agentVersion = "2.0.0"
	agentShort   = "Manages a replicated PostgreSQL database"
	agentLong    = `Keeps a PostgreSQL database available on two or more nodes with streaming replication.
The resource is a promotable clone: Pacemaker decides which node is the primary, systemd owns the processes,
and PostgreSQL comes from a container (podman or docker) or from the packages of the host.

With rep_mode=sync no acknowledged commit is lost through a failover. Fencing has to be configured.

Settings that are not parameters of the resource are in /etc/pgtwin/pgtwin.toml.`
)

// Action is an operation that the agent advertises, with the values that the
// cluster's tools propose for it.
type Action struct {
	Name     string
	Role     string        // "" is any role
	Interval time.Duration // of a recurring monitor; no two may have the same
	Timeout  time.Duration
}

// Actions are the advertised operations. Recurring monitors differ in their
// interval, because Pacemaker tells them apart by it.
func Actions() []Action {
	const s = time.Second
	return []Action{
		{Name: "start", Timeout: 120 * s},
		{Name: "stop", Timeout: 120 * s},
		{Name: "promote", Timeout: 120 * s},
		{Name: "demote", Timeout: 120 * s},
		{Name: "monitor", Interval: 10 * s, Timeout: 60 * s},
		{Name: "monitor", Role: "Unpromoted", Interval: 8 * s, Timeout: 60 * s},
		{Name: "monitor", Role: "Promoted", Interval: 3 * s, Timeout: 60 * s},
		{Name: "notify", Timeout: 90 * s},
		{Name: "reload-agent", Timeout: 30 * s},
		{Name: "meta-data", Timeout: 5 * s},
		{Name: "validate-all", Timeout: 20 * s},
	}
}

// doctype makes the OCF 1.1 document valid for ocf-tester too, which knows the
// DTD of 1.0 alone: the internal subset adds what 1.1 has and 1.0 has not.
const doctype = `<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd" [
<!ATTLIST parameter unique-group CDATA #IMPLIED reloadable (0|1) #IMPLIED>
<!ATTLIST action name CDATA #REQUIRED>
]>
`

// Metadata is the answer to meta-data: the XML document of OCF 1.1, the order of
// whose elements the schema prescribes.
func Metadata() string {
	var b strings.Builder
	b.WriteString(doctype)
	fmt.Fprintf(&b, "<resource-agent name=%q version=%q>\n<version>1.1</version>\n", agentName, agentVersion)
	b.WriteString(description(agentLong, agentShort))
	b.WriteString("<parameters>\n")
	for _, p := range Table() {
		b.WriteString(p.xml())
	}
	b.WriteString("</parameters>\n<actions>\n")
	for _, a := range Actions() {
		b.WriteString(a.xml())
	}
	b.WriteString("</actions>\n</resource-agent>\n")
	return b.String()
}

func (p Parameter) xml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<parameter name=%q", p.Name)
	if p.UniqueGroup != "" {
		fmt.Fprintf(&b, " unique-group=%q", p.UniqueGroup)
	}
	fmt.Fprintf(&b, " required=\"%d\" reloadable=\"%d\">\n", bit(p.Required), bit(p.Reloadable))
	b.WriteString(description(p.Long, p.Short))
	b.WriteString(`<content type="` + p.Type.xml() + `"`)
	if p.Default != "" {
		b.WriteString(` default="` + escaped(p.Default) + `"`)
	}
	b.WriteString("/>\n</parameter>\n")
	return b.String()
}

// xml is the type as the metadata names it. The DTD of ocf-tester has no
// "select", so a choice is a string there and its values are in the text.
func (t Type) xml() string {
	if t == Select {
		return string(String)
	}
	return string(t)
}

func (a Action) xml() string {
	s := fmt.Sprintf("<action name=%q timeout=%q", a.Name, seconds(a.Timeout))
	if a.Interval > 0 {
		s += fmt.Sprintf(" interval=%q", seconds(a.Interval))
	}
	if a.Role != "" {
		s += fmt.Sprintf(" role=%q", a.Role)
	}
	return s + "/>\n"
}

func description(long, short string) string {
	return "<longdesc lang=\"en\">\n" + escaped(long) + "\n</longdesc>\n" +
		"<shortdesc lang=\"en\">" + escaped(short) + "</shortdesc>\n"
}

// escaped leaves line breaks as they are, which xml.EscapeText would not.
func escaped(s string) string {
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		_ = xml.EscapeText(&b, []byte(line)) // a strings.Builder does not fail
	}
	return b.String()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
