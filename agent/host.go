package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/process"
)

// hostSources are all sources of the host's numbers. docs/agent.md lists what each
// of them gives.
func hostSources(perCPU bool) []source {
	proc := procfs("/proc")
	if root := os.Getenv("HOST_PROC"); root != "" { // as for gopsutil: the host's, seen from a container
		proc = procfs(root)
	}
	return []source{
		{"cpu", func(ctx context.Context) ([]family, error) { return collectCPU(ctx, perCPU) }},
		{"load", collectLoad},
		{"memory", collectMemory},
		{"swap", collectSwap},
		{"filesystem", collectFilesystems},
		{"disk", collectDisks},
		{"network", collectNetwork},
		{"processes", proc.collectProcesses},
		{"kernel", collectKernel},
		{"descriptors", proc.collectDescriptors},
		{"uptime", collectUptime},
	}
}

func collectCPU(ctx context.Context, perCPU bool) ([]family, error) {
	total, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("read CPU times: %w", err)
	}
	var r report
	for _, t := range total {
		for _, m := range modes(t) {
			r.counter("host_cpu_seconds_total", "Seconds that all CPUs together spent in each mode.", m.seconds, "mode", m.name)
		}
		const guestHelp = "Seconds of the modes user and nice that were spent running guests."
		r.counter("host_cpu_guest_seconds_total", guestHelp, t.Guest, "mode", "user")
		r.counter("host_cpu_guest_seconds_total", guestHelp, t.GuestNice, "mode", "nice")
	}
	cores, err := cpu.TimesWithContext(ctx, true)
	if err != nil {
		return r.families, fmt.Errorf("read the times of each CPU: %w", err)
	}
	r.gauge("host_cpus", "CPUs that the system runs on.", float64(len(cores)))
	if !perCPU {
		return r.families, nil
	}
	for _, t := range cores {
		for _, m := range modes(t) {
			r.counter("host_cpu_core_seconds_total", "Seconds that each CPU spent in each mode.",
				m.seconds, "cpu", strings.TrimPrefix(t.CPU, "cpu"), "mode", m.name)
		}
	}
	return r.families, nil
}

type modeSeconds struct {
	name    string
	seconds float64
}

// modes are those that add up to the whole time: guests' is part of user and nice.
func modes(t cpu.TimesStat) []modeSeconds {
	return []modeSeconds{
		{"user", t.User}, {"nice", t.Nice}, {"system", t.System}, {"idle", t.Idle},
		{"iowait", t.Iowait}, {"irq", t.Irq}, {"softirq", t.Softirq}, {"steal", t.Steal},
	}
}

func collectLoad(ctx context.Context) ([]family, error) {
	avg, err := load.AvgWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the load: %w", err)
	}
	var r report
	r.gauge("host_load1", "Load average of the last minute.", avg.Load1)
	r.gauge("host_load5", "Load average of the last 5 minutes.", avg.Load5)
	r.gauge("host_load15", "Load average of the last 15 minutes.", avg.Load15)
	return r.families, nil
}

func collectMemory(ctx context.Context) ([]family, error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read memory: %w", err)
	}
	var r report
	r.gauge("host_memory_total_bytes", "Memory of the host.", float64(m.Total))
	r.gauge("host_memory_used_bytes", "Memory that programs use: total less available.", float64(m.Used))
	r.gauge("host_memory_available_bytes", "Memory that programs can have without swapping.", float64(m.Available))
	r.gauge("host_memory_free_bytes", "Memory that nothing uses.", float64(m.Free))
	r.gauge("host_memory_buffers_bytes", "Memory of the block devices' buffers.", float64(m.Buffers))
	r.gauge("host_memory_cached_bytes", "Memory of the page cache, with what the kernel can reclaim of its slabs.", float64(m.Cached))
	return r.families, nil
}

func collectSwap(ctx context.Context) ([]family, error) {
	s, err := mem.SwapMemoryWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read swap: %w", err)
	}
	var r report
	r.gauge("host_swap_total_bytes", "Swap space of the host.", float64(s.Total))
	r.gauge("host_swap_used_bytes", "Swap space in use.", float64(s.Used))
	r.gauge("host_swap_free_bytes", "Swap space not in use.", float64(s.Free))
	r.counter("host_swap_in_bytes_total", "Bytes swapped in from disk.", float64(s.Sin))
	r.counter("host_swap_out_bytes_total", "Bytes swapped out to disk.", float64(s.Sout))
	return r.families, nil
}

func collectKernel(ctx context.Context) ([]family, error) {
	misc, err := load.MiscWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's counters: %w", err)
	}
	var r report
	r.counter("host_forks_total", "Processes and threads created.", float64(misc.ProcsCreated))
	r.counter("host_context_switches_total", "Context switches.", float64(misc.Ctxt))
	return r.families, nil
}

func collectUptime(ctx context.Context) ([]family, error) {
	up, err := host.UptimeWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the uptime: %w", err)
	}
	boot, err := host.BootTimeWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the boot time: %w", err)
	}
	var r report
	r.gauge("host_uptime_seconds", "Seconds since the host started.", float64(up))
	r.gauge("host_boot_time_seconds", "When the host started, in seconds since the epoch.", float64(boot))
	return r.families, nil
}

// procfs is the folder of Linux's /proc, for what gopsutil does not read, or reads
// at too high a price.
type procfs string

// collectProcesses counts processes by state. gopsutil gives the state too, but
// reads and parses /proc/PID/status and, for long names, the command line: five times
// the work for each of what may be thousands, every second if asked.
func (p procfs) collectProcesses(ctx context.Context) ([]family, error) {
	pids, err := process.PidsWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	count := map[string]float64{"running": 0, "sleeping": 0, "blocked": 0, "idle": 0, "zombie": 0, "stopped": 0}
	for _, pid := range pids {
		stat, err := os.ReadFile(filepath.Join(string(p), strconv.Itoa(int(pid)), "stat"))
		if err != nil {
			continue // it has ended since it was listed
		}
		if letter, ok := processState(string(stat)); ok {
			count[stateName(letter)]++
		}
	}
	var r report
	for state, n := range count {
		r.gauge("host_processes", "Processes by state.", n, "state", state)
	}
	return r.families, ctx.Err()
}

// processState finds the letter of the state in a line `pid (name) S …`; the name
// may hold parentheses and spaces.
func processState(stat string) (letter byte, ok bool) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 || end+2 >= len(stat) {
		return 0, false
	}
	return stat[end+2], true
}

// stateName names a state as proc_pid_stat(5) describes its letter.
func stateName(letter byte) string {
	switch letter {
	case 'R':
		return "running"
	case 'S':
		return "sleeping"
	case 'D':
		return "blocked"
	case 'I':
		return "idle"
	case 'Z':
		return "zombie"
	case 'T', 't':
		return "stopped"
	}
	return "other"
}

// collectDescriptors reads sys/fs/file-nr: allocated, unused (0 since Linux 2.6), maximum.
func (p procfs) collectDescriptors(context.Context) ([]family, error) {
	content, err := os.ReadFile(filepath.Join(string(p), "sys/fs/file-nr"))
	if err != nil {
		return nil, fmt.Errorf("read file descriptors: %w", err)
	}
	fields := strings.Fields(string(content))
	if len(fields) != 3 {
		return nil, fmt.Errorf("read file descriptors: %q does not have three fields", content)
	}
	allocated, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return nil, fmt.Errorf("read file descriptors: %w", err)
	}
	maximum, err := strconv.ParseFloat(fields[2], 64)
	if err != nil {
		return nil, fmt.Errorf("read file descriptors: %w", err)
	}
	var r report
	r.gauge("host_file_descriptors_allocated", "File descriptors open in the whole system.", allocated)
	r.gauge("host_file_descriptors_max", "File descriptors that the system allows.", maximum)
	return r.families, nil
}
