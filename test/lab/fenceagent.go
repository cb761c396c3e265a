package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// fenceMetadata describes the agent to Pacemaker. A host that was shot stays off until someone boots it,
// so reboot is off that counts as success, and there is no on.
const fenceMetadata = `<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Fence agent of the pgtwin lab">
  <longdesc>Asks the machine that runs the lab to take a host's power, over a way that needs no network.
A host stays off until it is booted from outside.</longdesc>
  <vendor-url>https://github.com/ClusterLabs/fence-agents/blob/main/doc/FenceAgentAPI.md</vendor-url>
  <parameters>
    <parameter name="action" unique="0" required="0">
      <getopt mixed="-o, --action=[action]"/>
      <content type="string" default="reboot"/>
      <shortdesc lang="en">What to do</shortdesc>
    </parameter>
    <parameter name="port" unique="0" required="0">
      <getopt mixed="-n, --plug=[id]"/>
      <content type="string"/>
      <shortdesc lang="en">Name of the host</shortdesc>
    </parameter>
  </parameters>
  <actions>
    <action name="off"/>
    <action name="reboot"/>
    <action name="status"/>
    <action name="monitor"/>
    <action name="list"/>
    <action name="metadata"/>
  </actions>
</resource-agent>
`

// fenceOff is the exit status by which a fence agent says that the host has no power.
const fenceOff = 2

// fenceAgentMain is the fence agent: options come as name=value lines on stdin.
func fenceAgentMain() error {
	options, err := fenceOptions(os.Args[1:], os.Stdin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fenceLimit)
	defer cancel()
	ask := func(request ...string) (string, error) {
		return askFencing(ctx, "/"+fenceMount+fenceSocket, request...)
	}
	switch action := options["action"]; action {
	case "metadata":
		fmt.Print(fenceMetadata)
		return nil
	case "monitor":
		_, err = ask("list")
		return err
	case "list":
		names, err := ask("list")
		for _, name := range strings.Fields(names) {
			fmt.Printf("%s,\n", name)
		}
		return err
	case "off", "reboot":
		_, err := ask("off", options["port"])
		return err
	case "status":
		power, err := ask("status", options["port"])
		if power == "off" {
			os.Exit(fenceOff)
		}
		return err
	default:
		return fmt.Errorf("cannot %s: the action is not supported", action)
	}
}

// fenceOptions reads the options of a fence agent: from stdin, and those two that people give by hand.
func fenceOptions(args []string, stdin io.Reader) (map[string]string, error) {
	options := map[string]string{"action": "reboot"}
	aliases := map[string]string{"-o": "action", "--action": "action", "-n": "port", "--plug": "port"}
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		if !joined && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		if aliases[name] == "" || value == "" {
			return nil, errors.New("usage: fence_lab [-o ACTION] [-n HOST], or name=value lines on stdin")
		}
		options[aliases[name]] = value
		stdin = strings.NewReader("")
	}
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if name == "plug" {
			name = "port"
		}
		options[name] = value
	}
	return options, lines.Err()
}
