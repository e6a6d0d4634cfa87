"""Every Java program of ZCS, from its performance counters."""
