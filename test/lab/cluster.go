package lab

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// corosyncConf is corosync's configuration. It does not take several settings or braces on one line.
var corosyncConf = template.Must(template.New("corosync.conf").Parse(`
totem {
	version: 2
	cluster_name: lab
	transport: knet
	crypto_cipher: none
	crypto_hash: none
	token: 1000
}

quorum {
	provider: corosync_votequorum
	{{- if eq (len .) 2}}
	two_node: 1
	{{- end}}
	wait_for_all: 0
}

logging {
	to_stderr: no
	to_logfile: no
	to_syslog: yes
}

nodelist {
	{{- range .}}
	node {
		ring0_addr: {{.Addr}}
		name: {{.Name}}
		nodeid: {{.Number}}
	}
	{{- end}}
}
`[1:]))

// Number returns the host's number, from 1, which is also its node id in the cluster.
func (h *Host) Number() int { return h.number }

func renderCorosync(hosts []*Host) (string, error) {
	var b bytes.Buffer
	err := corosyncConf.Execute(&b, hosts)
	return b.String(), err
}

// schemas are those that new clusters are made with, by base system. An older one would have to be upgraded
// for crmsh to offer today's names of roles, and the manager of the CIB then holds every schema in between in
// memory, which each write to disk pays for: it forks.
var schemas = map[string]string{"trixie": "pacemaker-4.0", "bookworm": "pacemaker-3.9"}

// firstCIB is what the cluster starts its life with. Nobody is fenced before everybody has been seen once,
// and so there is no need either to wait long for other nodes before one becomes the first DC.
const firstCIB = `<cib admin_epoch="0" epoch="1" num_updates="0" validate-with="%s">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="1s"/>
        <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="false"/>
      </cluster_property_set>
    </crm_config>
    <nodes/>
    <resources/>
    <constraints/>
  </configuration>
  <status/>
</cib>
`

// seeds returns the files a host starts its life with.
func (l *Lab) seeds(h *Host) ([]seed, error) {
	corosync, err := renderCorosync(l.hosts)
	if err != nil {
		return nil, fmt.Errorf("cannot write corosync.conf: %w", err)
	}
	uid, gid, err := lookupUser(h.rootfs, "hacluster")
	if err != nil {
		return nil, err
	}
	var names strings.Builder
	names.WriteString("127.0.0.1 localhost\n")
	for _, other := range l.hosts {
		fmt.Fprintf(&names, "%s %s\n", other.Addr(), other.name)
	}
	return []seed{
		{Path: "/etc/hostname", Mode: 0o644, Text: h.name + "\n"},
		{Path: "/etc/hosts", Mode: 0o644, Text: names.String()},
		{Path: "/etc/machine-id", Mode: 0o444, Text: fmt.Sprintf("%032x\n", 0x7077<<16+h.number)},
		{Path: "/etc/corosync/corosync.conf", Mode: 0o644, Text: corosync},
		{Path: "/var/lib/pacemaker/cib/cib.xml", Mode: 0o600, UID: uid, GID: gid, Text: fmt.Sprintf(firstCIB, schemas[l.Base()])},
	}, nil
}

// fencingCIB switches fencing on: a device per host, so that each may have a delay of its own. Pacemaker
// must not slow down when the machine's load is high: it is not the hosts' own.
var fencingCIB = template.Must(template.New("fencing").Parse(`
<configuration>
  <crm_config>
    <cluster_property_set id="cib-bootstrap-options">
      <nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="10s"/>
      <nvpair id="cib-bootstrap-options-load-threshold" name="load-threshold" value="1000%"/>
      <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="true"/>
    </cluster_property_set>
  </crm_config>
  <resources>
    {{- range .Hosts}}
    <primitive id="fence-{{.Name}}" class="stonith" type="fence_lab">
      <instance_attributes id="fence-{{.Name}}-params">
        <nvpair id="fence-{{.Name}}-hosts" name="pcmk_host_list" value="{{.Name}}"/>
        {{- if and $.Delay (eq .Number 1)}}
        <nvpair id="fence-{{.Name}}-delay" name="pcmk_delay_base" value="{{$.Delay}}"/>
        {{- end}}
      </instance_attributes>
    </primitive>
    {{- end}}
  </resources>
</configuration>
`[1:]))

// formCluster waits until every node is online under a DC, switches fencing on and waits for that.
func (l *Lab) formCluster(ctx context.Context, o Options) error {
	first := l.hosts[0]
	if err := l.awaitCluster(ctx, "a DC with all nodes online", clusterStatus.complete); err != nil {
		return err
	}
	var delay string
	if o.FenceDelay > 0 {
		delay = fmt.Sprintf("%dms", o.FenceDelay.Milliseconds())
	}
	var cib bytes.Buffer
	if err := fencingCIB.Execute(&cib, map[string]any{"Hosts": l.hosts, "Delay": delay}); err != nil {
		return fmt.Errorf("cannot configure fencing: %w", err)
	}
	if _, err := first.RunInput(ctx, cib.String(), "cibadmin", "--modify", "--allow-create", "--xml-pipe"); err != nil {
		return fmt.Errorf("cannot configure fencing: %w", err)
	}
	return l.AwaitCluster(ctx)
}

// AwaitCluster returns when all nodes are online under a DC with quorum and every fence device is started:
// after a boot, the moment at which the next fault may come.
func (l *Lab) AwaitCluster(ctx context.Context) error {
	return l.awaitCluster(ctx, "the complete cluster", clusterStatus.fencing)
}

func (l *Lab) awaitCluster(ctx context.Context, what string, done func(clusterStatus, int) error) error {
	return await(ctx, what, func() (bool, error) {
		i := slices.IndexFunc(l.hosts, (*Host).Running)
		if i < 0 {
			return false, fmt.Errorf("%w: no host is running", errGivenUp)
		}
		s, err := l.hosts[i].clusterStatus(ctx)
		if err != nil {
			return false, err
		}
		err = done(s, len(l.hosts))
		return err == nil, err
	})
}

// clusterStatus is the part of crm_mon's output that the lab looks at.
type clusterStatus struct {
	DC struct {
		Present bool `xml:"present,attr"`
		Quorum  bool `xml:"with_quorum,attr"`
	} `xml:"summary>current_dc"`
	Nodes []struct {
		Name    string `xml:"name,attr"`
		Online  bool   `xml:"online,attr"`
		Pending bool   `xml:"pending,attr"`
	} `xml:"nodes>node"`
	Resources []struct {
		ID     string `xml:"id,attr"`
		Role   string `xml:"role,attr"`
		Failed bool   `xml:"failed,attr"`
	} `xml:"resources>resource"`
}

func (h *Host) clusterStatus(ctx context.Context) (clusterStatus, error) {
	var s clusterStatus
	out, err := h.Run(ctx, "crm_mon", "--one-shot", "--output-as=xml")
	if err != nil {
		return s, err
	}
	if err := xml.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("cannot read crm_mon's output: %w", err)
	}
	return s, nil
}

// complete says what is missing to a cluster of n nodes.
func (s clusterStatus) complete(n int) error {
	if !s.DC.Present || !s.DC.Quorum {
		return errors.New("there is no DC with quorum")
	}
	online := 0
	for _, node := range s.Nodes {
		if node.Online && !node.Pending {
			online++
		}
	}
	if online != n {
		return fmt.Errorf("%d of %d nodes are online", online, n)
	}
	return nil
}

// fencing says what is missing to a complete cluster of n nodes that can fence each of them.
func (s clusterStatus) fencing(n int) error {
	if err := s.complete(n); err != nil {
		return err
	}
	started := 0
	for _, r := range s.Resources {
		if strings.HasPrefix(r.ID, "fence-") && r.Role == "Started" && !r.Failed {
			started++
		}
	}
	if started != n {
		return fmt.Errorf("%d of %d fence devices are started", started, n)
	}
	return nil
}
