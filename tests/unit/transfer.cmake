tutti_add_test(transfer_parts_test SOURCES transfer_parts_test.cc DEPS tutti::transfer LABELS unit)
tutti_add_test(transfer_agent_test SOURCES transfer_agent_test.cc DEPS tutti::transfer LABELS unit)
tutti_add_test(transfer_processes_test SOURCES transfer_processes_test.cc DEPS tutti::transfer LABELS unit)
