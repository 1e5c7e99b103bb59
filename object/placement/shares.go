package placement

import "math"

// Shares is which part of all objects each node holds if everything is fair: copies are
// spread over zones and in a zone over nodes in proportion to their weights, but no node
// has two copies of an object, and no zone has one more than another that could take it.
func (m *Map) Shares() map[string]float64 {
	zones := make(map[int][]member)
	for _, n := range m.nodes {
		zones[n.zone] = append(zones[n.zone], n)
	}
	held := make(map[int]float64, len(zones)) // copies of each object in a zone
	left := m.Copies()
	for round := 1; left > 0; round++ {
		weights := make(map[int]float64) // of zones that have a node for this round
		for zone, nodes := range zones {
			if len(nodes) >= round {
				for _, n := range nodes {
					weights[zone] += n.Weight
				}
			}
		}
		taking := min(left, len(weights))
		for zone, share := range spread(float64(taking), weights) {
			held[zone] += share
		}
		left -= taking
	}
	shares := make(map[string]float64, len(m.nodes))
	for zone, nodes := range zones {
		weights := make(map[string]float64, len(nodes))
		for _, n := range nodes {
			weights[n.Name] = n.Weight
		}
		for name, share := range spread(held[zone], weights) {
			shares[name] = share
		}
	}
	return shares
}

// spread divides an amount in proportion to weights, at most 1 each: what is over at one is
// spread over the others.
func spread[K comparable](amount float64, weights map[K]float64) map[K]float64 {
	shares := make(map[K]float64, len(weights))
	for len(shares) < len(weights) {
		sum, room := 0.0, amount
		for k, w := range weights {
			if share, full := shares[k]; full {
				room -= share
			} else {
				sum += w
			}
		}
		capped := false
		for k, w := range weights {
			if _, full := shares[k]; !full && room*w/sum >= 1-1e-12 {
				shares[k], capped = 1, true
			}
		}
		if capped {
			continue
		}
		for k, w := range weights {
			if _, full := shares[k]; !full {
				shares[k] = math.Max(0, room*w/sum)
			}
		}
	}
	return shares
}
