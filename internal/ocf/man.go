package ocf

import (
	"fmt"
	"strings"
)

// ManPage is the manual page ocf_heartbeat_pgtwin(7) as roff, with the man(7)
// macros.
func ManPage() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH OCF_HEARTBEAT_PGTWIN 7 \"\" \"%s %s\" \"OCF resource agents\"\n", agentName, agentVersion)
	section(&b, "NAME")
	fmt.Fprintf(&b, "ocf_heartbeat_%s \\- %s\n", agentName, roff(strings.ToLower(agentShort[:1])+agentShort[1:]))
	section(&b, "SYNOPSIS")
	fmt.Fprintf(&b, ".B %s\n{ %s }\n", agentName, roff(strings.Join(methods(), " | ")))
	section(&b, "DESCRIPTION")
	b.WriteString(paragraphs(agentLong))
	section(&b, "SUPPORTED PARAMETERS")
	for _, p := range Table() {
		b.WriteString(p.roff())
	}
	section(&b, "SUPPORTED ACTIONS")
	b.WriteString("The timeouts and intervals are the suggested minimum.\n")
	for _, a := range Actions() {
		b.WriteString(a.roff())
	}
	section(&b, "EXAMPLE")
	b.WriteString("With crmsh:\n.PP\n.RS 4\n.nf\n" + roff(example) + "\n.fi\n.RE\n")
	section(&b, "FILES")
	b.WriteString(".I /etc/pgtwin/pgtwin.toml\n")
	section(&b, "SEE ALSO")
	b.WriteString(".BR pacemaker (7),\n.BR crm (8),\n.BR pcs (8),\n.BR systemctl (1),\n.BR journalctl (1)\n")
	return b.String()
}

// example has a stickiness, without which a returning node could take the role
// of the primary back.
const example = `primitive postgres ocf:heartbeat:pgtwin \
  params pgdata=/var/lib/pgsql/data node_list="node1 node2" \
  op start timeout=120s op stop timeout=120s \
  op promote timeout=120s op demote timeout=120s \
  op monitor interval=8s role=Unpromoted timeout=60s \
  op monitor interval=3s role=Promoted timeout=60s
clone postgres-clone postgres \
  meta promotable=true promoted-max=1 clone-max=2 resource-stickiness=100`

func section(b *strings.Builder, title string) { fmt.Fprintf(b, ".SH \"%s\"\n", title) }

func (p Parameter) roff() string {
	facts := []string{p.Short, "a " + string(p.Type)}
	if len(p.Options) > 0 {
		facts[1] = "one of " + strings.Join(p.Options, ", ")
	}
	if p.Type == Integer {
		facts[1] = "an " + string(p.Type)
	}
	if p.Required {
		facts = append(facts, "required")
	}
	if p.Default != "" {
		facts = append(facts, "default "+p.Default)
	}
	if p.Reloadable {
		facts = append(facts, "changed without a restart")
	}
	return fmt.Sprintf(".TP\n.B %s\n%s.\n.sp\n%s", roff(p.Name), roff(strings.Join(facts, "; ")), paragraphs(p.Long))
}

func (a Action) roff() string {
	name := a.Name
	if a.Role != "" {
		name += " (" + a.Role + " role)"
	}
	text := "Timeout " + seconds(a.Timeout)
	if a.Interval > 0 {
		text += ", interval " + seconds(a.Interval)
	}
	return fmt.Sprintf(".TP\n.B %s\n%s.\n", roff(name), text)
}

// paragraphs turns blank lines into paragraph breaks.
func paragraphs(text string) string {
	return strings.ReplaceAll(roff(text), "\n\n", "\n.PP\n") + "\n"
}

// roff escapes what the formatter would take for its own: backslashes, hyphens
// that are minus signs, and a dot or quote at the beginning of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
