"""The models that HCT-DMG is compared with, one file each, all fed by `hctdmg.batch.Batch`."""
