"""Kexec HandOver: memory that outlives the kernel that filled it. Source: kernel/liveupdate/ @ v7.2"""
