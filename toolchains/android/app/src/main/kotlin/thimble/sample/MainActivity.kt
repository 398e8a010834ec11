package thimble.sample

import android.app.Activity
import android.os.Bundle
import android.widget.TextView
import java.io.File
import kotlin.concurrent.thread
import thimble.Engine

/** Asks the model in the app's own folder one question and shows the answer as it grows. */
class MainActivity : Activity() {
    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val view = TextView(this)
        setContentView(view)
        thread {
            val text = try {
                Engine(File(filesDir, "model.gguf").path).use { engine ->
                    engine.answer("What is the capital of France?") { soFar ->
                        runOnUiThread { view.text = soFar }
                        !isDestroyed
                    }
                }
            } catch (e: IllegalStateException) {
                e.message
            }
            runOnUiThread { view.text = text }
        }
    }
}
