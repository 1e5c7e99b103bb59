package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/net"
)

// collectFilesystems measures every file system that keeps data on a device of this
// host, once, however often it is mounted. Those of other hosts are left out: asking
// for their space can hang for as long as the other host is away.
func collectFilesystems(ctx context.Context) ([]family, error) {
	mounts, err := disk.PartitionsWithContext(ctx, true)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var r report
	var failed []error
	seen := make(map[string]bool) // devices
	for _, m := range mounts {
		if !keepsData(m) || seen[m.Device] {
			continue
		}
		seen[m.Device] = true
		u, err := disk.UsageWithContext(ctx, m.Mountpoint)
		if err != nil {
			failed = append(failed, fmt.Errorf("measure %s: %w", m.Mountpoint, err))
			continue
		}
		of := []string{"mountpoint", m.Mountpoint, "device", m.Device, "fstype", m.Fstype}
		r.gauge("host_filesystem_total_bytes", "Size of the file system.", float64(u.Total), of...)
		r.gauge("host_filesystem_used_bytes", "Space in use.", float64(u.Used), of...)
		r.gauge("host_filesystem_free_bytes", "Space that programs without privileges can still have.", float64(u.Free), of...)
		r.gauge("host_filesystem_inodes", "Inodes of the file system.", float64(u.InodesTotal), of...)
		r.gauge("host_filesystem_inodes_used", "Inodes in use.", float64(u.InodesUsed), of...)
		r.gauge("host_filesystem_inodes_free", "Inodes not in use.", float64(u.InodesFree), of...)
	}
	return r.families, errors.Join(failed...)
}

// deviceFilesystems are the types of file system that live on a local device.
const deviceFilesystems = " ext2 ext3 ext4 xfs btrfs zfs bcachefs f2fs jfs reiserfs nilfs2 vfat msdos exfat ntfs ntfs3 fuseblk apfs hfs ufs "

// keepsData tells the mounts to measure. The root always is one: a container's is
// an overlay, and its space is what the programs in it can fill.
func keepsData(m disk.PartitionStat) bool {
	if m.Mountpoint == "/" {
		return true
	}
	return strings.Contains(deviceFilesystems, " "+m.Fstype+" ") && !slices.Contains(m.Opts, "bind")
}

func collectDisks(ctx context.Context) ([]family, error) {
	devices, err := disk.IOCountersWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read disk I/O: %w", err)
	}
	const ms = 1e-3 // the kernel counts milliseconds
	var r report
	for _, d := range devices {
		if strings.HasPrefix(d.Name, "loop") || strings.HasPrefix(d.Name, "ram") {
			continue // their I/O is counted at the device or the memory behind them
		}
		r.counter("host_disk_read_bytes_total", "Bytes read from the device.", float64(d.ReadBytes), "device", d.Name)
		r.counter("host_disk_written_bytes_total", "Bytes written to the device.", float64(d.WriteBytes), "device", d.Name)
		r.counter("host_disk_reads_total", "Reads completed.", float64(d.ReadCount), "device", d.Name)
		r.counter("host_disk_writes_total", "Writes completed.", float64(d.WriteCount), "device", d.Name)
		r.counter("host_disk_read_seconds_total", "Seconds that all reads took, added up.", float64(d.ReadTime)*ms, "device", d.Name)
		r.counter("host_disk_write_seconds_total", "Seconds that all writes took, added up.", float64(d.WriteTime)*ms, "device", d.Name)
		r.counter("host_disk_io_seconds_total", "Seconds in which the device had anything to do.", float64(d.IoTime)*ms, "device", d.Name)
		r.counter("host_disk_io_weighted_seconds_total", "Seconds of I/O times the requests in progress.", float64(d.WeightedIO)*ms, "device", d.Name)
		r.gauge("host_disk_io_in_progress", "Requests in progress.", float64(d.IopsInProgress), "device", d.Name)
	}
	return r.families, nil
}

func collectNetwork(ctx context.Context) ([]family, error) {
	interfaces, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return nil, fmt.Errorf("read network interfaces: %w", err)
	}
	var r report
	for _, i := range interfaces {
		r.counter("host_network_receive_bytes_total", "Bytes received.", float64(i.BytesRecv), "interface", i.Name)
		r.counter("host_network_transmit_bytes_total", "Bytes sent.", float64(i.BytesSent), "interface", i.Name)
		r.counter("host_network_receive_packets_total", "Packets received.", float64(i.PacketsRecv), "interface", i.Name)
		r.counter("host_network_transmit_packets_total", "Packets sent.", float64(i.PacketsSent), "interface", i.Name)
		r.counter("host_network_receive_errors_total", "Packets received with an error.", float64(i.Errin), "interface", i.Name)
		r.counter("host_network_transmit_errors_total", "Packets not sent because of an error.", float64(i.Errout), "interface", i.Name)
		r.counter("host_network_receive_drops_total", "Received packets that were dropped.", float64(i.Dropin), "interface", i.Name)
		r.counter("host_network_transmit_drops_total", "Packets to send that were dropped.", float64(i.Dropout), "interface", i.Name)
	}
	return r.families, nil
}
