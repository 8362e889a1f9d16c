// Rows of a table of weights: to contiguous memory of the compute type.

constexpr int64_t rows_ahead = 8;  // that are fetched while one is copied: they lie anywhere

template <class T>
void gather_rows(const Table& table, const int64_t* ids, int64_t n, void* out) {
    const FloatMode mode;
    T* to = static_cast<T*>(out);
    const int64_t columns = table.columns;
    const int64_t bytes = columns * elem_size[static_cast<int>(table.type)];
    const bool contiguous = table.column_step == elem_size[static_cast<int>(table.type)];
    for (int64_t i = 0; i < n; ++i, to += columns) {
        if (contiguous && i + rows_ahead < n) {
            const char* const next = table.data + ids[i + rows_ahead] * table.row_step;
            for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(next + b);
        }
        const char* const row = table.data + ids[i] * table.row_step;
        if (contiguous && sizeof(T) == elem_size[static_cast<int>(table.type)])
            memcpy(to, row, static_cast<size_t>(bytes));
        else
            for (int64_t k = 0; k < columns; k += block)
                gather(table.type, row + k * table.column_step, table.column_step, to + k,
                       static_cast<int>(columns - k < block ? columns - k : block));
    }
}
