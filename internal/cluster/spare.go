package cluster

import "fmt"

func (c *Client) spareName() string { return "pgtwin-" + c.Instance + "-spare" }

// formatSpare is how many of those recorded for an epoch may lack a commit. With
// the epoch of another promotion it means nothing.
func formatSpare(epoch, number int) string { return fmt.Sprintf("epoch=%d spare=%d", epoch, number) }

// spare reads what formatSpare wrote. What cannot be read is an error: none spared
// is a promise.
func (c *Client) spare(cib *cib, epoch int) (int, error) {
	text, ok := lookup(cib.Properties, c.spareName())
	if !ok {
		return 0, nil
	}
	var of, number int
	if _, err := fmt.Sscanf(text, "epoch=%d spare=%d", &of, &number); err != nil || number < 0 || formatSpare(of, number) != text {
		return 0, fmt.Errorf("cluster property %s: cannot read %q, expected epoch=NUMBER spare=NUMBER", c.spareName(), text)
	}
	if of != epoch {
		return 0, nil
	}
	return number, nil
}
