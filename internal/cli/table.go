package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"pgtwin/internal/control"
	"pgtwin/internal/ha"
)

// ANSI: bold red, and back.
const (
	alarm = "\x1b[1;31m"
	plain = "\x1b[0m"
)

// writeTable writes the report for people, the warnings in colour where asked
// for.
func (r Report) writeTable(out io.Writer, colour bool) error {
	var b strings.Builder
	b.WriteString(r.title() + "\n")
	r.writeHosts(&b)
	if line := r.runtimeLine(); line != "" {
		b.WriteString(line + "\n")
	}
	if len(r.Replaced) > 0 {
		b.WriteString("Replaced data kept in " + strings.Join(r.Replaced, ", ") + "\n")
	}
	for _, w := range r.Warnings {
		if colour {
			w = alarm + "! " + w + plain
		} else {
			w = "! " + w
		}
		b.WriteString(w + "\n")
	}
	for _, advice := range r.Advice {
		b.WriteString("- " + advice + "\n")
	}
	if r.Health == Healthy && len(r.Advice) == 0 {
		b.WriteString("All is well.\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (r Report) title() string {
	var parts []string
	if r.Resource != "" {
		parts = append(parts, "ocf resource "+r.Resource)
	}
	switch {
	case r.Epoch != nil:
		parts = append(parts, fmt.Sprintf("epoch %d (%s promoted on timeline %d)", r.Epoch.Number, r.Epoch.Node, r.Epoch.Timeline))
	case r.Quorum != nil:
		parts = append(parts, "no promotion on record")
	default:
		parts = append(parts, "epoch unknown")
	}
	if r.RepMode != "" {
		parts = append(parts, "rep_mode "+r.RepMode)
	}
	parts = append(parts, "fencing "+either(r.Fencing, "on", "OFF"), "quorum "+either(r.Quorum, "yes", "NO"))
	if r.Maintenance {
		parts = append(parts, "MAINTENANCE")
	}
	return r.Instance + "  " + strings.Join(parts, ", ")
}

func either(b *bool, yes, no string) string {
	switch {
	case b == nil:
		return "unknown"
	case *b:
		return yes
	}
	return no
}

func (r Report) writeHosts(out io.Writer) {
	if len(r.Hosts) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tROLE\tSTATE\tTIMELINE\tLSN\tLAG\tSYNC\tSLOT\tSCORE")
	for _, h := range r.Hosts {
		cells := []string{h.Name, string(h.Role), h.State, h.timeline(), h.lsn(), h.lag(), dash(h.Sync), dash(h.Slot), h.score()}
		if h.Here {
			cells = append(cells, "<- this host")
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	w.Flush() // into memory
}

func (r Report) runtimeLine() string {
	var parts []string
	if r.Runtime != "" {
		text := "Runtime " + r.Runtime
		if image := r.image(); image != "" {
			text += ", image " + image
		}
		parts = append(parts, text)
	}
	if r.VirtualIP != nil {
		parts = append(parts, "Virtual IP "+r.VirtualIP.Address+on(r.VirtualIP.Node))
	}
	return strings.Join(parts, "   ")
}

// image is the image's name with so much of its digest as tells images apart.
func (r Report) image() string {
	algorithm, digest, isDigest := strings.Cut(r.Image, ":")
	if !isDigest || len(digest) < shortDigest || strings.ContainsAny(algorithm, "/.") {
		return orElse(r.Image, r.ImageName)
	}
	short := algorithm + ":" + digest[:shortDigest]
	if r.ImageName == "" {
		return short
	}
	return r.ImageName + " (" + short + ")"
}

// shortDigest is how many hexadecimal digits people get to see.
const shortDigest = 12

func (h Host) timeline() string {
	if h.Timeline == 0 {
		return "-"
	}
	return strconv.FormatUint(uint64(h.Timeline), 10)
}

func (h Host) lsn() string {
	if h.LSN == 0 {
		return "-"
	}
	return h.LSN.String()
}

func (h Host) lag() string {
	if h.LagBytes == nil {
		return "-"
	}
	return control.Size(*h.LagBytes)
}

func (h Host) score() string {
	switch {
	case h.Score == nil:
		return "-"
	case *h.Score <= ha.Minus:
		return "-INFINITY"
	case *h.Score >= -ha.Minus:
		return "INFINITY"
	}
	return strconv.Itoa(*h.Score)
}

func dash(s string) string { return orElse(s, "-") }
