# Tests that run on the emulated GPU and on a real one: GoogleTest's program here, tests/gpu_programs there.
set(octavo_device_tests attention_test.cpp cache_moves_test.cpp cache_test.cpp device_twin.cpp hidden_keys_test.cpp
                        merge_test.cpp packed_codes_test.cpp padded_codes_test.cpp quantize_test.cpp split_test.cpp
                        value_unit_test.cpp)
list(TRANSFORM octavo_device_tests PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
