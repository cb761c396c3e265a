package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/e2e/event"
	"pgtwin/test/lab"
)

// narrator tells the story to a person who watches; it is an event.Observer.
type narrator struct {
	out   io.Writer
	began time.Time
}

func (n *narrator) chapter(title string) { fmt.Fprintf(n.out, "\n=== %s ===\n", title) }

// Step says what happens now, or is waited for.
func (n *narrator) Step(text string) {
	fmt.Fprintf(n.out, "%6.1f s  %s\n", time.Since(n.began).Seconds(), text)
}

// Progress shows how many writes were acknowledged in the last second.
func (n *narrator) Progress(p event.Progress) {
	fmt.Fprintf(n.out, "%6.1f s      writes/s: %3d through the virtual IP, %3d by direct connections  %s\n",
		time.Since(n.began).Seconds(), p.Virtual, p.Direct, strings.Repeat("#", (p.Virtual+p.Direct)/10))
}

// Slow says that clients waited for longer than on a machine at rest.
func (n *narrator) Slow(err error) {
	fmt.Fprintf(n.out, "%6.1f s      slow: %v\n", time.Since(n.began).Seconds(), err)
}

// show prints what the administrator sees at this point.
func (n *narrator) show(ctx context.Context, c *cluster.Cluster) error {
	primary, err := c.Primary(ctx)
	if err != nil {
		return err
	}
	for _, look := range []struct {
		on   *lab.Host
		argv []string
	}{
		{primary, []string{"pgtwin", "status"}},
		{primary, []string{"crm_mon", "-1"}},
		{primary, []string{"systemctl", "status", "--no-pager", "--lines=0", cluster.Unit}},
		{primary, []string{"journalctl", "--no-pager", "--lines=8", "--unit=" + cluster.Unit, "--unit=" + cluster.Watcher}},
		{c.Other(primary), []string{"journalctl", "--no-pager", "--lines=8", "--unit=" + cluster.Unit, "--unit=" + cluster.Watcher}},
	} {
		fmt.Fprintf(n.out, "\n%s# %s\n", look.on.Name(), strings.Join(look.argv, " "))
		text, err := look.on.Run(ctx, look.argv...)
		if err != nil {
			return err
		}
		fmt.Fprint(n.out, text)
	}
	return nil
}
