package thimble

import java.io.ByteArrayOutputStream

/** A model and its context. Not for several threads at once; [close] it when it is no longer needed. */
class Engine(path: String, contextTokens: Int = 2048) : AutoCloseable {
    private var handle = open(path, contextTokens)

    /** Answers one question. [onText] gets the answer so far after every token and may return false to stop. */
    fun answer(question: String, onText: (String) -> Boolean = { true }): String {
        check(handle != 0L) { "the engine is closed" }
        ask(handle, question.toByteArray())
        val bytes = ByteArrayOutputStream()
        while (true) {
            bytes.write(next(handle) ?: break)
            if (!onText(bytes.toString("UTF-8"))) break
        }
        return bytes.toString("UTF-8")
    }

    override fun close() {
        close(handle)
        handle = 0
    }

    private companion object {
        init {
            System.loadLibrary("thimble_jni")
        }

        @JvmStatic external fun open(path: String, contextTokens: Int): Long
        @JvmStatic external fun close(handle: Long)
        @JvmStatic external fun ask(handle: Long, question: ByteArray)
        @JvmStatic external fun next(handle: Long): ByteArray?
    }
}
