//go:build lab

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgtwin/test/e2e/cluster"
	"pgtwin/test/lab"
)

// agent is where Pacemaker finds the resource agent.
const agent = "/usr/lib/ocf/resource.d/heartbeat/pgtwin"

// A second instance on a host of the cluster, which Pacemaker knows nothing of, to be called by hand.
const (
	spare     = "spare"
	spareRoot = "/var/lib/pgsql/spare"
	spareData = spareRoot + "/data"
	sparePort = 5999
)

// spareParameters are right: a case spoils them.
func spareParameters(c *cluster.Cluster) map[string]string {
	return map[string]string{
		"container_name":   spare,
		"pgdata":           spareData,
		"pgport":           fmt.Sprint(sparePort),
		"container_mode":   fmt.Sprint(c.Containers()),
		"container_image":  cluster.Image,
		"pg_major_version": "17",
		"pg_bindir":        cluster.BinDir,
		"pgpassfile":       cluster.PassFile,
		"node_list":        "h1 h2",
		"rep_mode":         "sync",
	}
}

// call runs an action of the agent as Pacemaker does. The error has the exit status and the tail of stderr.
func call(ctx context.Context, h *lab.Host, resource, action string, params map[string]string, env ...string) (string, error) {
	return h.Run(ctx, agentCommand(resource, action, params, env...)...)
}

func agentCommand(resource, action string, params map[string]string, env ...string) []string {
	argv := []string{"env", "OCF_ROOT=/usr/lib/ocf", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1", "OCF_RESOURCE_TYPE=pgtwin",
		"OCF_RESOURCE_PROVIDER=heartbeat", "OCF_RESOURCE_INSTANCE=" + resource, "OCF_RESKEY_CRM_meta_timeout=20000"}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		argv = append(argv, "OCF_RESKEY_"+name+"="+params[name])
	}
	return append(append(argv, env...), agent, action)
}

// makeSpare gives the spare instance a directory: an empty one, or one with a database of its own.
func makeSpare(ctx context.Context, h *lab.Host, withDatabase bool) error {
	if err := removeSpare(ctx, h); err != nil {
		return err
	}
	for _, dir := range []string{spareRoot, spareData} {
		if _, err := h.Run(ctx, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", dir); err != nil {
			return err
		}
	}
	if !withDatabase {
		return nil
	}
	_, err := h.Run(ctx, "runuser", "-u", "postgres", "--", cluster.BinDir+"/initdb", "--no-sync", "--auth=peer", spareData)
	return err
}

func removeSpare(ctx context.Context, h *lab.Host) error {
	_, err := h.Run(ctx, "rm", "-rf", spareRoot, "/var/lib/pgtwin/"+spare, "/run/pgtwin/"+spare)
	return err
}

// resourceAgent checks the agent with the tools that the cluster's people have for it.
func resourceAgent(s *scene) {
	_, h := s.hosts()
	s.tell(
		step("Pacemaker reads the metadata", func(ctx context.Context) error {
			text, err := h.Run(ctx, "crm_resource", "--show-metadata", "ocf:heartbeat:pgtwin")
			if err != nil {
				return err
			}
			return mention("the metadata", text, `<resource-agent name="pgtwin"`, `name="container_runtime"`)
		}),
		step("the metadata are valid", func(ctx context.Context) error {
			text, err := h.Run(ctx, agent, "meta-data")
			if err != nil {
				return err
			}
			_, err = h.RunInput(ctx, text, "xmllint", "--noout", "--valid", "--path", "/usr/share/resource-agents", "-")
			return err
		}),
		step("there is a directory for an instance outside the cluster", func(ctx context.Context) error { return makeSpare(ctx, h, false) }),
		step("ocf-tester passes it", func(ctx context.Context) error { return ocfTester(ctx, h, spareParameters(s.c)) }),
		step("nothing of it is left", func(ctx context.Context) error {
			if err := noSpareRuns(ctx, h); err != nil {
				return err
			}
			return forgetSpare(ctx, h)
		}),
	)
}

func ocfTester(ctx context.Context, h *lab.Host, params map[string]string) error {
	argv := []string{"ocf-tester", "-n", spare}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		argv = append(argv, "-o", name+"="+params[name])
	}
	text, err := h.Run(ctx, append(argv, agent)...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return mention("ocf-tester", text, "passed all tests")
}

// noSpareRuns checks that the spare instance is as dead as Pacemaker would want it.
func noSpareRuns(ctx context.Context, h *lab.Host) error {
	unit := strings.Replace(cluster.Unit, cluster.Instance, spare, 1)
	state, err := cluster.Property(ctx, h, unit, "ActiveState")
	if err != nil {
		return err
	}
	if state == "active" || state == "activating" || state == "deactivating" {
		return fmt.Errorf("%s is %s", unit, state)
	}
	listening, err := h.Run(ctx, "ss", "--listening", "--tcp", "--numeric", "--no-header", fmt.Sprintf("sport = %d", sparePort))
	if err != nil {
		return err
	}
	return expect("what listens on the spare instance's port", strings.TrimSpace(listening), "")
}

// forgetSpare removes the spare instance's files, and what it has left in the cluster's memory.
func forgetSpare(ctx context.Context, h *lab.Host) error {
	if err := removeSpare(ctx, h); err != nil {
		return err
	}
	_, err := h.Run(ctx, "crm_attribute", "--type=crm_config", "--delete", "--name="+spareEpoch)
	return err
}

// spareEpoch is the cluster property in which pgtwin keeps an instance's epoch.
const spareEpoch = "pgtwin-" + spare + "-epoch"
