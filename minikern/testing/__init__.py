"""For tests of code that works on boots: a pytest plugin and hypothesis strategies.

They need pytest and hypothesis, which minikern itself does not. The plugin (``minikern.testing.plugin``) is found by
pytest wherever minikern is installed; it has the fixtures ``machine``, a description to change and boot, and
``booted``, a finished boot. The strategies (``minikern.lab.strategies``) make firmware maps, machines with NUMA
nodes and requests for huge pages. A whole test file::

    import pytest
    from hypothesis import given

    from minikern.lab.run import boot
    from minikern.verify.page_check import check_memmap
    from minikern.lab.strategies import hugepage_requests, numa_machines


    def test_a_small_machine_boots(booted):
        assert booted.kernel.log.lines[-1].text == "Run /init as init process"


    @pytest.mark.machine("tiny", numa=["128M,cpus=0", "128M,cpus=1"], append="hugepages=4")
    def test_two_nodes(booted):
        assert [node.nid for node in booted.kernel.nodes] == [0, 1]


    @given(numa_machines(), hugepage_requests())
    def test_every_page_is_right(spec, words):
        assert check_memmap(boot(spec, append=words).kernel).ok
"""
